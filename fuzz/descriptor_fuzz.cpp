// Descriptors come out of a control plane that others write to: any bytes give a region that encodes to them again, or an
// Error.
#include "transport/wire/descriptor.hpp"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto bytes = std::as_bytes(std::span(data, size));
    for (const std::string name : {"shm", "tcp"}) {
        const Descriptor descriptor{name, Bytes(bytes.begin(), bytes.end())};
        const auto decoded = decode_descriptor(descriptor, name);
        if (!decoded.has_value()) {
            if (decoded.error().code != Code::corrupt && decoded.error().code != Code::unsupported) std::abort();
            continue;
        }
        if (size > kMaxDescriptorBytes || decoded->endpoints.empty() || decoded->endpoints.size() > 8) std::abort();
        const auto again = encode_descriptor(*decoded);
        if (!again.has_value() || again->bytes.size() > size || !std::equal(again->bytes.begin() + 8, again->bytes.end(), bytes.begin() + 8)) std::abort();
        if (check_reachable(*decoded, true).has_value() && decoded->process.boot_id != current_process().value().boot_id) std::abort();
    }
    return 0;
}
