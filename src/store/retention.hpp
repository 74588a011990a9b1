// What is left over in the directory of a name's versions: retired versions, and what writers that died left behind.
#pragma once

#include "store/file_system.hpp"
#include "store/pin.hpp"
#include "store/version_path.hpp"
#include "wsync/base/deadline.hpp"

#include <functional>

namespace wsync {

// A directory that is ours to write into; the lock ends with it.
struct Workspace {
    std::string path;
    Pin pin;
    bool recycled = false;
};

enum class Leftovers : std::uint8_t { remove, use_one, leave };

// Where the ranks of one version write their parts: ROOT/NAME/.tmp-vEPOCH.NUMBER-GROUP. `group` tells their publication
// from all others that have used the same numbers; the same on all ranks.
[[nodiscard]] std::string shared_workspace_path(const std::string& directory, VersionNumber version, const std::string& group);
// Joins it, or makes it first, as open_workspace would (then `recycled` may be true). The pin is shared: nobody removes the
// workspace while one of its ranks lives. Error{unavailable}: somebody has been making it or taking it away for all of
// `deadline`.
[[nodiscard]] Result<Workspace> open_shared_workspace(FileSystem& files, const std::string& directory, VersionNumber version, const std::string& group,
                                                      Leftovers leftovers, const std::function<bool(const std::string&)>& keep_file, Deadline deadline);

// Looks through `directory` (ROOT/NAME): a leftover whose lock is free becomes the workspace (`use_one`), all other such
// are removed; a new directory is made where there is none. `leave`: a new directory, and nothing is looked at. Its old wsync.json and every file that `keep_file` does not
// want are gone, durably. With a `group` the ranks' workspace and those that they have just made are passed over.
[[nodiscard]] Result<Workspace> open_workspace(FileSystem& files, const std::string& directory, VersionNumber version, Leftovers leftovers,
                                               const std::function<bool(const std::string&)>& keep_file, const std::string& group = {});

// Removes all but the newest `keep` (0: all stay) versions; `recycle`: one of them is kept aside for the next writer.
// What somebody reads is passed over. What was passed over, for people.
[[nodiscard]] Result<std::vector<std::string>> retire_versions(FileSystem& files, const std::string& directory, unsigned keep, bool recycle);

}  // namespace wsync
