// The control plane's records come from whoever can write there: any bytes give a record that encodes to them again, or an
// Error.
#include "sync/group_records.hpp"
#include "sync/records.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace wsync;

template <class Record>
void check(std::span<const std::byte> bytes, const Result<Record>& decoded) {
    if (!decoded.has_value()) {
        if (decoded.error().code != Code::corrupt && decoded.error().code != Code::unsupported) std::abort();
        return;
    }
    const Bytes again = encode(*decoded);
    // A newer minor (bytes 6 and 7) may have appended something.
    if (again.size() > bytes.size() || !std::equal(again.begin() + 8, again.end(), bytes.begin() + 8)) std::abort();
    if (bytes[6] == std::byte{0} && bytes[7] == std::byte{0} && again.size() != bytes.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    check(bytes, decode_epoch(bytes));
    check(bytes, decode_rank(bytes));
    check(bytes, decode_publication(bytes));
    check(bytes, decode_head(bytes));
    check(bytes, decode_group_round(bytes));
    check(bytes, decode_group_member(bytes));
    return 0;
}
