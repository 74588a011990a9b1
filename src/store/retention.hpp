// What is left over in the directory of a name's versions: retired versions, and what writers that died left behind.
#pragma once

#include "store/file_system.hpp"
#include "store/pin.hpp"
#include "store/version_path.hpp"

#include <functional>

namespace wsync {

// A directory that is ours to write into; the lock ends with it.
struct Workspace {
    std::string path;
    Pin pin;
    bool recycled = false;
};

enum class Leftovers : std::uint8_t { remove, use_one, leave };

// Looks through `directory` (ROOT/NAME): a leftover whose lock is free becomes the workspace (`use_one`), all other such
// are removed; a new directory is made where there is none. `leave`: a new directory, and nothing is looked at. Its old wsync.json and every file that `keep_file` does not
// want are gone, durably.
[[nodiscard]] Result<Workspace> open_workspace(FileSystem& files, const std::string& directory, VersionNumber version, Leftovers leftovers,
                                               const std::function<bool(const std::string&)>& keep_file);

// Removes all but the newest `keep` (0: all stay) versions; `recycle`: one of them is kept aside for the next writer.
// What somebody reads is passed over. What was passed over, for people.
[[nodiscard]] Result<std::vector<std::string>> retire_versions(FileSystem& files, const std::string& directory, unsigned keep, bool recycle);

}  // namespace wsync
