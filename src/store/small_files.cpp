#include "store/file_system.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

Region around(std::span<const std::byte> bytes, bool writable) {
    Region region;
    region.address = const_cast<std::byte*>(bytes.data());  // written only where `writable`
    region.bytes = bytes.size();
    region.writable = writable;
    return region;
}

std::pair<std::string, std::string> parent_and_name(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return {".", path};
    return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

Result<Bytes> read_small_file(FileSystem& files, const std::string& path, std::uint64_t max_bytes) {
    const auto [parent, name] = parent_and_name(path);
    WSYNC_TRY(const auto listing, files.list(parent));
    const auto entry = std::find_if(listing.entries.begin(), listing.entries.end(), [&, n = name](const DirectoryEntry& e) { return e.name == n; });
    if (entry == listing.entries.end()) return Error{Code::not_found, fmt::format("{} does not exist", path)};
    if (entry->bytes > max_bytes) {
        return Error{Code::corrupt, fmt::format("{} has {} bytes; more than {} can't be right", path, entry->bytes, max_bytes)};
    }
    Bytes bytes(entry->bytes);
    if (bytes.empty()) return bytes;
    const Region memory = around(bytes, true);
    const FileRange range{0, &memory, 0, bytes.size()};
    WSYNC_TRY([[maybe_unused]] const auto digests, files.read(path, {&range, 1}));
    return bytes;
}

Status write_small_file(FileSystem& files, const std::string& path, std::span<const std::byte> bytes) {
    WSYNC_TRY_VOID(files.create(path, bytes.size()));
    if (!bytes.empty()) {
        const Region memory = around(bytes, false);
        const FileRange range{0, &memory, 0, bytes.size()};
        WSYNC_TRY([[maybe_unused]] const auto digests, files.write(path, {&range, 1}));
    }
    return files.sync(path);
}

Status remove_tree(FileSystem& files, const std::string& directory) {
    auto listing = files.list(directory);
    if (!listing) {
        if (listing.error().code == Code::not_found) return {};
        return std::move(listing).error();
    }
    for (const DirectoryEntry& entry : listing->entries) {
        const std::string path = directory + "/" + entry.name;
        Status removed = entry.directory ? remove_tree(files, path) : files.remove(path);
        if (!removed && removed.error().code != Code::not_found) return removed;
    }
    Status removed = files.remove(directory);
    if (!removed && removed.error().code != Code::not_found) return removed;
    return {};
}

}  // namespace wsync
