// A config.json comes from anywhere: any text gives a manifest of bounded length, or an Error.
#include "wsync/model/catalogue.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto manifest = manifest_from_config(std::string_view(reinterpret_cast<const char*>(data), size));
    if (!manifest.has_value()) {
        if (manifest.error().code != Code::corrupt && manifest.error().code != Code::unsupported) std::abort();
        if (manifest.error().message.find_first_of("\n\r") != std::string::npos) std::abort();
        return 0;
    }
    if (manifest->size() == 0 || manifest->size() > (1U << 18) + 16) std::abort();
    return 0;
}
