// wsync.digests: any bytes give tensors and digests that can be written again, or an Error.
#include "store/version_manifest.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto digests = decode_version_digests(std::as_bytes(std::span(data, size)), "fuzzed");
    if (!digests.has_value()) {
        if (digests.error().code != Code::corrupt && digests.error().code != Code::unsupported) std::abort();
        return 0;
    }
    const auto again = decode_version_digests(encode(*digests).value(), "rewritten");
    if (!again.has_value() || !(again->boxes == digests->boxes) || !(again->blocks == digests->blocks)) std::abort();
    return 0;
}
