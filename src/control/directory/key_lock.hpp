// The right to change the keys of one share of a control folder: a locked file.
//
// There are 64 locks for all keys, so that keys that come and go leave no lock files behind. A lock is one of the
// system's (flock on a file of its own description): it works between threads, processes and, where the file system
// shares locks, machines, and it ends with its holder. The file holds the highest revision that was removed: a key that
// comes back is newer than it was, and an old revision never matches again.
#pragma once

#include "control/directory/folder.hpp"
#include "control/directory/records.hpp"

namespace wsync {

class KeyLock {
public:
    // Waits for other holders; Error{timed_out} at the deadline (a holder may be stopped) names the lock's file.
    [[nodiscard]] static Result<KeyLock> take(const Folder& folder, std::string_view key, Deadline deadline);

    // What the key's next revision is, where `current` is its present one (0: none).
    [[nodiscard]] Revision after(Revision current) const noexcept { return std::max(current, highest_removed_) + 1; }
    // Before the key's file is removed.
    [[nodiscard]] Status note_removal(Revision current);

private:
    KeyLock(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
    UniqueFd file_;  // closing it unlocks
    std::string path_;
    Revision highest_removed_ = 0;
};

}  // namespace wsync
