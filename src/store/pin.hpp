// Pins: a shared lock on a version's directory while somebody reads it, an exclusive one while somebody changes it.
//
// The lock is a flock on the file wsync.lock inside, or on the directory itself where there is no such file. It ends with
// the holder, however he dies; a forked child that keeps the descriptor keeps the pin. Between machines it is as good as
// the network file system's locks.
#pragma once

#include "wsync/base/result.hpp"
#include "wsync/base/unique_fd.hpp"

#include <optional>
#include <string>

namespace wsync {

inline constexpr std::string_view kLockFile = "wsync.lock";
// In the workspace of several ranks: who has it makes their version visible.
inline constexpr std::string_view kCommitLockFile = "wsync.commit";

class Pin {
public:
    // While it lives, wsync neither removes nor overwrites the directory. Error{not_found}: it is not there (any more);
    // {unavailable}: it is being written or recycled.
    [[nodiscard]] static Result<Pin> shared(const std::string& directory);
    // Nothing: somebody reads or writes it.
    [[nodiscard]] static Result<std::optional<Pin>> try_exclusive(const std::string& directory, std::string_view lock_file = kLockFile);
    // An exclusive pin becomes a shared one, of the directory under its present name. Error{not_found}: somebody took the
    // directory away in between.
    [[nodiscard]] static Result<Pin> downgrade(Pin exclusive, const std::string& directory);

private:
    explicit Pin(UniqueFd fd) : fd_(std::move(fd)) {}
    static Result<std::optional<Pin>> lock(const std::string& directory, std::string_view lock_file, int operation);
    UniqueFd fd_;
};

}  // namespace wsync
