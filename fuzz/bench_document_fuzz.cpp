// A profile may be any file that a user names: any text gives figures that can be used, or an Error in one line.
#include "wsync/predict/measured.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto figures = measured_from_bench(std::string_view(reinterpret_cast<const char*>(data), size), "fuzzed");
    if (!figures.has_value()) {
        if (figures.error().code != Code::corrupt && figures.error().code != Code::unsupported && figures.error().code != Code::invalid_argument) std::abort();
        if (figures.error().to_string().find_first_of("\n\r") != std::string::npos) std::abort();
    }
    return 0;
}
