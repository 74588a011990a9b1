#include "store/retention.hpp"

#include "store/version_manifest.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <random>
#include <time.h>
#include <unistd.h>

namespace wsync {
namespace {

// Another process may take or remove a leftover at the same time: then it is his.
std::optional<Pin> lock_leftover(const std::string& path) {
    auto pin = Pin::try_exclusive(path);
    if (!pin) return std::nullopt;
    return *std::move(pin);
}

// The old manifest first and durably: nothing that is half overwritten may ever look like a version.
Status clear_out(FileSystem& files, const std::string& path, const std::function<bool(const std::string&)>& keep_file) {
    WSYNC_TRY(const auto listing, files.list(path));
    const auto remove = [&](const DirectoryEntry& entry) {
        const std::string inside = path + "/" + entry.name;
        return entry.directory ? remove_tree(files, inside) : files.remove(inside);
    };
    for (const DirectoryEntry& entry : listing.entries)
        if (entry.name == kVersionFile) WSYNC_TRY_VOID(remove(entry));
    WSYNC_TRY_VOID(files.sync(path));
    for (const DirectoryEntry& entry : listing.entries) {
        if (entry.name == kVersionFile || entry.name == kLockFile) continue;
        if (entry.directory || !keep_file(entry.name)) WSYNC_TRY_VOID(remove(entry));
    }
    return {};
}

std::string workspace_name(VersionNumber version, const std::string& whose) {
    return fmt::format("{}{}-{}", kWritingPrefix, directory_name(version), whose);
}

void pause_a_moment() {
    const timespec moment{0, 1'000'000};
    ::nanosleep(&moment, nullptr);
}

std::string unique_suffix() {
    std::random_device random;
    return fmt::format("{}-{:08x}", ::getpid(), random());
}

}  // namespace

Result<Workspace> open_workspace(FileSystem& files, const std::string& directory, VersionNumber version, Leftovers leftovers,
                                 const std::function<bool(const std::string&)>& keep_file, const std::string& group) {
    const std::string ours = group.empty() ? "" : workspace_name(version, group);
    DirectoryListing listing;
    if (leftovers != Leftovers::leave) {
        WSYNC_TRY(listing, files.list(directory));
    }
    std::optional<Workspace> found;
    for (const DirectoryEntry& entry : listing.entries) {
        if (!entry.directory || !entry.name.starts_with(kWritingPrefix)) continue;
        const std::string path = directory + "/" + entry.name;
        if (!ours.empty() && (entry.name == ours || entry.name.starts_with(ours + "-"))) continue;
        auto pin = lock_leftover(path);
        if (!pin) continue;
        if (leftovers == Leftovers::use_one && !found) {
            found = Workspace{path, *std::move(pin), true};
        } else {
            WSYNC_TRY_VOID(remove_tree(files, path));
        }
    }
    if (found) {
        WSYNC_TRY_VOID(clear_out(files, found->path, keep_file));
        return *std::move(found);
    }
    const std::string path = directory + "/" + (ours.empty() ? workspace_name(version, unique_suffix()) : ours + "-" + unique_suffix());
    WSYNC_TRY_VOID(files.create(path, std::nullopt));
    WSYNC_TRY_VOID(files.create(fmt::format("{}/{}", path, kLockFile), 0));
    WSYNC_TRY(auto pin, Pin::try_exclusive(path));
    if (!pin) return Error{Code::unavailable, fmt::format("{} was locked by somebody else as soon as it was made", path)};
    return Workspace{path, *std::move(pin), false};
}

std::string shared_workspace_path(const std::string& directory, VersionNumber version, const std::string& group) {
    return directory + "/" + workspace_name(version, group);
}

Result<Workspace> open_shared_workspace(FileSystem& files, const std::string& directory, VersionNumber version, const std::string& group,
                                        Leftovers leftovers, const std::function<bool(const std::string&)>& keep_file, Deadline deadline) {
    const std::string path = shared_workspace_path(directory, version, group);
    const auto join_or_make = [&]() -> Result<Workspace> {
        auto joined = Pin::shared(path);
        if (joined) return Workspace{path, *std::move(joined), false};
        if (joined.error().code != Code::not_found) return std::move(joined).error();
        WSYNC_TRY(auto own, open_workspace(files, directory, version, leftovers, keep_file, group));
        WSYNC_TRY_VOID(files.create(fmt::format("{}/{}", own.path, kCommitLockFile), 0));
        // Renaming a directory over one that is not empty fails: one rank's becomes the ranks' own, the others' go.
        Status renamed = files.rename(own.path, path);
        if (!renamed) {
            // A retired version's files stay for the next one.
            if (!own.recycled) WSYNC_TRY_VOID(remove_tree(files, own.path));
            if (files.list(path)) return Error{Code::unavailable, fmt::format("another rank made {}", path)};
            return renamed.error();
        }
        WSYNC_TRY(auto pin, Pin::downgrade(std::move(own.pin), path));
        return Workspace{path, std::move(pin), own.recycled};
    };
    while (true) {
        auto workspace = join_or_make();
        // Ranks meet at what is left over and at what they make: then one of them looks again.
        const bool again = !workspace && (workspace.error().code == Code::not_found || workspace.error().code == Code::unavailable);
        if (!again || deadline.expired()) return workspace;
        pause_a_moment();
    }
}

Result<std::vector<std::string>> retire_versions(FileSystem& files, const std::string& directory, unsigned keep, bool recycle) {
    std::vector<std::string> notes;
    if (keep == 0) return notes;
    WSYNC_TRY(const auto listing, files.list(directory));
    std::vector<VersionNumber> versions;
    bool spare = false;
    for (const DirectoryEntry& entry : listing.entries) {
        if (!entry.directory) continue;
        if (const auto version = parse_directory_name(entry.name)) versions.push_back(*version);
        if (entry.name.starts_with(kSparePrefix)) spare = true;
    }
    std::sort(versions.begin(), versions.end());
    if (versions.size() > keep) versions.resize(versions.size() - keep);
    else versions.clear();
    for (const VersionNumber& version : versions) {
        const std::string path = directory + "/" + directory_name(version);
        const auto pin = lock_leftover(path);
        if (!pin) {
            notes.push_back(fmt::format("{} stays: somebody reads it", path));
            continue;
        }
        const std::string gone = fmt::format("{}/{}{}-{}", directory, kSparePrefix, directory_name(version), unique_suffix());
        WSYNC_TRY_VOID(files.rename(path, gone));
        if (recycle && !spare) {
            // Not synced: a power cut gives the version back, whole. Who uses its files first takes its manifest away,
            // durably (clear_out).
            spare = true;
            continue;
        }
        // Out of the readers' sight, durably, before anything in it goes.
        WSYNC_TRY_VOID(files.sync(directory));
        WSYNC_TRY_VOID(remove_tree(files, gone));
    }
    return notes;
}

}  // namespace wsync
