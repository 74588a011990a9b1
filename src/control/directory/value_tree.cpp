#include "control/directory/value_tree.hpp"

#include "control/keys.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::string_view kRoot = "values";
constexpr std::string_view kSuffix = ",value";
constexpr int kMaxDepth = 256;  // segments that fit into a key

Status take_value(const Folder& folder, const std::string& key, const FileSignature& signature, const ScanOptions& options, StoredValues& found) {
    if (options.known != nullptr) {
        if (const auto known = options.known->find(key); known != options.known->end() && known->second.signature == signature) {
            found[key] = known->second;
            return {};
        }
    }
    WSYNC_TRY(auto record, read_value(folder, key));
    if (record) found[key] = StoredValue{*std::move(record), signature};
    return {};
}

// The key `prefix` itself, which lies in the directory above; listed for its signature only where that is of use.
Status scan_one(const Folder& folder, const std::string& key, const ScanOptions& options, StoredValues& found) {
    if (options.known == nullptr) return take_value(folder, key, {}, options, found);
    const auto path = value_path(key);
    const auto slash = path.rfind('/');
    WSYNC_TRY(auto items, folder.list(path.substr(0, slash)));
    for (const auto& item : items)
        if (item.name == path.substr(slash + 1)) return take_value(folder, key, item.signature, options, found);
    return {};
}

// The directory of `prefix` ("": all).
Status scan_directory(const Folder& folder, const std::string& prefix, int depth, const ScanOptions& options, StoredValues& found) {
    const auto directory = prefix.empty() ? std::string(kRoot) : fmt::format("{}/{}", kRoot, prefix);
    if (options.on_directory) options.on_directory(folder.path_of(directory));
    WSYNC_TRY(auto items, folder.list(directory));
    for (const auto& item : items) {
        if (item.is_directory) {
            if (depth >= kMaxDepth || !is_key_segment(item.name)) continue;
            WSYNC_TRY_VOID(scan_directory(folder, prefix.empty() ? item.name : prefix + "/" + item.name, depth + 1, options, found));
        } else if (item.name.ends_with(kSuffix)) {
            const auto segment = item.name.substr(0, item.name.size() - kSuffix.size());
            const auto key = prefix.empty() ? segment : prefix + "/" + segment;
            if (check_key(key)) WSYNC_TRY_VOID(take_value(folder, key, item.signature, options, found));
        }
    }
    return {};
}

}  // namespace

std::string value_path(std::string_view key) { return fmt::format("{}/{}{}", kRoot, key, kSuffix); }

Result<std::optional<ValueRecord>> read_value(const Folder& folder, std::string_view key) {
    const auto relative = value_path(key);
    WSYNC_TRY(auto bytes, folder.read_file(relative, kMaxValueFileBytes));
    if (!bytes) return std::optional<ValueRecord>();
    const auto path = folder.path_of(relative);
    WSYNC_TRY(auto record, decode_value(*bytes, path));
    if (record.key != key) return Error{Code::corrupt, fmt::format("{} is the value of another key, {}: remove it", path, record.key), {}};
    return std::optional<ValueRecord>(std::move(record));
}

Result<StoredValues> scan_values(const Folder& folder, std::string_view prefix, const ScanOptions& options) {
    StoredValues found;
    if (!prefix.empty()) {
        if (options.on_directory) {
            options.on_directory(folder.path_of(kRoot));
            for (std::size_t at = prefix.find('/'); at != std::string_view::npos; at = prefix.find('/', at + 1)) {
                options.on_directory(folder.path_of(fmt::format("{}/{}", kRoot, prefix.substr(0, at))));
            }
        }
        WSYNC_TRY_VOID(scan_one(folder, std::string(prefix), options, found));
    }
    WSYNC_TRY_VOID(scan_directory(folder, std::string(prefix), 0, options, found));
    return found;
}

}  // namespace wsync
