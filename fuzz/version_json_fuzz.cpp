// wsync.json may be edited, cut or made by anybody: any text gives a whole version of plain file names, or an Error.
#include "format/safetensors_index.hpp"
#include "store/version_manifest.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace wsync;
    const auto manifest = decode_version_manifest(std::string_view(reinterpret_cast<const char*>(data), size), "fuzzed");
    if (!manifest.has_value()) {
        if (manifest.error().code != Code::corrupt && manifest.error().code != Code::unsupported) std::abort();
        if (manifest.error().to_string().find_first_of("\n\r") != std::string::npos) std::abort();
        return 0;
    }
    if (!manifest->complete || manifest->files.empty()) std::abort();
    for (const WeightsFile& file : manifest->files)
        if (!is_plain_file_name(file.name)) std::abort();
    for (const SideFile& file : manifest->side_files)
        if (!is_plain_file_name(file.name)) std::abort();
    const auto again = decode_version_manifest(encode(*manifest), "rewritten");
    if (!again.has_value() || !(*again == *manifest)) std::abort();
    return 0;
}
