// wsync.part-RANK: any bytes give a part that can be written again, or an Error.
#include "store/version_part.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto part = decode_version_part(std::as_bytes(std::span(data, size)), "fuzzed");
    if (!part.has_value()) {
        if (part.error().code != Code::corrupt && part.error().code != Code::unsupported) std::abort();
        return 0;
    }
    const auto again = decode_version_part(encode(*part), "rewritten");
    if (!again.has_value() || !(*again == *part)) std::abort();
    return 0;
}
