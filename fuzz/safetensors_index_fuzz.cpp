// The index of a sharded checkpoint comes from anywhere: any text gives an index of plain file names, or an Error.
#include "format/safetensors_index.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto index = parse_safetensors_index(std::string_view(reinterpret_cast<const char*>(data), size), "fuzzed");
    if (!index.has_value()) {
        if (index.error().code != Code::corrupt) std::abort();
        if (index.error().message.find_first_of("\n\r") != std::string::npos) std::abort();
        return 0;
    }
    for (const std::string& file : index->files()) {
        if (file.empty() || file.find('/') != std::string::npos || file.find("..") != std::string::npos) std::abort();
    }
    if (!(parse_safetensors_index(make_safetensors_index(*index).value(), "rewritten").value() == *index)) std::abort();
    return 0;
}
