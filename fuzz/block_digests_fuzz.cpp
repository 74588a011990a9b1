// Block digests come from a peer: any bytes give a value that encodes to the same bytes again, or an Error.
#include "record_check.hpp"
#include "verify/block_digests.hpp"
#include "wsync/model/layout.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto decoded = decode_block_digests(bytes);
    fuzz::check_record(bytes, decoded);
    if (!decoded.has_value()) return 0;
    if (decoded->first.empty() || decoded->first.back() != decoded->digests.size()) std::abort();
    // Against a layout: never a crash, whatever was decoded.
    static const Layout layout = Layout::replicated(Manifest::make({{"a", DType::u8, {4}}, {"b", DType::bf16, {2, 2}}}).value()).value();
    const auto fits = check(*decoded, layout, 0);
    if (fits.has_value() && decoded->digests.size() != 2) std::abort();
    return 0;
}
