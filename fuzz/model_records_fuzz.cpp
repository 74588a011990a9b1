// Manifests, layouts and placements come from a peer: any bytes give a value that encodes to the same bytes, or an Error.
#include "model/records.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace wsync;

template <class T>
void check_decoded(const Result<T>& decoded, std::span<const std::byte> bytes) {
    if (!decoded.has_value()) {
        if (decoded.error().code != Code::corrupt && decoded.error().code != Code::unsupported) std::abort();
        return;
    }
    const Bytes again = encode(*decoded);
    // A newer minor may have appended something; the manifest inside a layout has a minor of its own, at 18.
    const auto minor_is_ours = [&](std::size_t at) { return bytes.size() <= at + 1 || (bytes[at] == std::byte{0} && bytes[at + 1] == std::byte{0}); };
    const bool layout = std::equal(bytes.begin(), bytes.begin() + 4, as_bytes_of("WLAY").begin());
    if (!minor_is_ours(6) || (layout && !minor_is_ours(18))) return;
    if (again.size() != bytes.size() || !std::equal(again.begin(), again.end(), bytes.begin())) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    check_decoded(decode_manifest(bytes), bytes);
    const auto layout = decode_layout(bytes);
    check_decoded(layout, bytes);
    check_decoded(decode_placement(bytes), bytes);
    if (layout.has_value()) {
        // What a peer's layout says can be placed.
        for (std::uint32_t rank = 0; rank < std::min(layout->ranks(), 4U); ++rank) {
            const auto placement = pack(*layout, rank);
            if (placement.has_value() && !check(*layout, rank, *placement).has_value()) std::abort();
        }
    }
    return 0;
}
