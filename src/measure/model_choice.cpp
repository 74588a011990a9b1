#include "measure/model_choice.hpp"

#include "store/checkpoint.hpp"
#include "wsync/model/catalogue.hpp"

#include <cmath>
#include <filesystem>
#include <fmt/format.h>

namespace wsync {
namespace {

// "48KiB", "0.5GB", "1MB", "4GiB"; nothing for anything else.
std::optional<double> parse_bytes(std::string_view text) {
    static constexpr std::pair<std::string_view, double> kUnits[] = {{"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0},
                                                                     {"kB", 1e3},     {"MB", 1e6},        {"GB", 1e9}};
    for (const auto& [unit, factor] : kUnits) {
        if (!text.ends_with(unit)) continue;
        const std::string number(text.substr(0, text.size() - unit.size()));
        char* end = nullptr;
        const double value = std::strtod(number.c_str(), &end);
        if (number.empty() || *end != '\0' || !(value > 0) || !(value * factor < 1e15)) return std::nullopt;
        return value * factor;
    }
    return std::nullopt;
}

Result<ModelChoice> from_path(const std::string& path) {
    ModelChoice choice;
    choice.name = std::filesystem::path(path).filename().string();
    const auto files = make_file_system(nullptr);
    if (path.ends_with(".json") && !path.ends_with(".index.json")) {
        WSYNC_TRY(auto text, read_small_file(*files, path, 1 << 20));
        WSYNC_TRY(choice.manifest, manifest_from_config({reinterpret_cast<const char*>(text.data()), text.size()}));
        return choice;
    }
    WSYNC_TRY(auto checkpoint, open_checkpoint(*files, path));
    choice.manifest = checkpoint.layout.manifest();
    choice.checkpoint = path;
    return choice;
}

}  // namespace

Result<ModelChoice> choose_model(const std::string& text) {
    ModelChoice choice;
    choice.name = text;
    if (auto manifest = catalogue_manifest(text)) {
        choice.manifest = *std::move(manifest);
        return choice;
    }
    std::error_code ignored;
    if (std::filesystem::exists(text, ignored)) return from_path(text).within("reading the model " + text);
    if (const auto x = text.find('x'); x != std::string::npos && x > 0 && x < 8 && text.find_first_not_of("0123456789") == x) {
        if (const auto each = parse_bytes(text.substr(x + 1)); each && std::fmod(*each, 2) == 0) {
            WSYNC_TRY(choice.manifest, uniform_manifest(static_cast<std::uint32_t>(std::stoul(text.substr(0, x))), static_cast<std::uint64_t>(*each)));
            return choice;
        }
    }
    if (const auto bytes = parse_bytes(text)) {
        WSYNC_TRY(choice.manifest, manifest_of_size(static_cast<std::uint64_t>(*bytes) / 2 * 2));
        return choice;
    }
    std::string ids;
    for (const auto& entry : catalogue()) ids += std::string(entry.id) + ", ";
    return Error{Code::invalid_argument,
                 fmt::format("no model \"{}\"; there are {}the path of a safetensors file or of a checkpoint's directory, a size such as 0.5GB, and 20000x48KiB", text, ids), {}};
}

}  // namespace wsync
