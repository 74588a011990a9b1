#include "output_directory.hpp"

#include "format/safetensors_index.hpp"
#include "store/checkpoint.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

namespace wsync::tool {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxKeptBytes = 64 << 20;  // of one file; larger ones are no part of a checkpoint that we know

bool replaced(const std::string& name) { return name.starts_with("wsync.") || name.ends_with(".safetensors") || name == kSafetensorsIndexName; }

}  // namespace

std::string parent_of(const std::string& out) {
    const fs::path path = fs::path(out).lexically_normal();
    const auto parent = path.has_filename() ? path.parent_path() : path.parent_path().parent_path();
    return parent.empty() ? "." : parent.string();
}

Result<std::vector<ExtraFile>> files_to_keep(FileSystem& files, const std::string& out) {
    const auto refuse = [&](std::string_view why) {
        return Error{Code::invalid_argument, fmt::format("{} {}: choose another --out, or move it away", out, why), {}};
    };
    std::error_code failed;
    const auto status = fs::symlink_status(out, failed);
    if (!fs::exists(status)) return std::vector<ExtraFile>();
    if (!fs::is_directory(fs::status(out, failed))) return refuse("is there and no directory");
    WSYNC_TRY(const auto listing, files.list(out));
    const bool holds_weights = std::any_of(listing.entries.begin(), listing.entries.end(), [](const auto& entry) { return replaced(entry.name); });
    if (!listing.entries.empty() && !holds_weights) return refuse("is there and holds no checkpoint that a new one could replace");
    std::vector<ExtraFile> kept;
    for (const auto& entry : listing.entries) {
        if (replaced(entry.name)) continue;
        if (entry.directory) return refuse(fmt::format("holds the directory {}, which a new version would not have", entry.name));
        if (entry.bytes > kMaxKeptBytes) return refuse(fmt::format("holds {}, of {} bytes, which a new version would not have", entry.name, entry.bytes));
        WSYNC_TRY(auto bytes, read_small_file(files, out + "/" + entry.name, kMaxKeptBytes));
        kept.push_back({entry.name, std::move(bytes)});
    }
    return kept;
}

}  // namespace wsync::tool
