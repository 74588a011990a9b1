// The folder behind a directory control: small files, each written whole or not at all.
//
// All paths are relative to the folder ('/' between names) and opened name by name, so that neither a path nor a symbolic
// link leads out of it. The folder is looked up by its path at every operation: when it vanishes, the next one says so.
// Files are made 0600 and directories 0700. A plain value; thread-safe.
#pragma once

#include "base/bytes.hpp"
#include "wsync/base/unique_fd.hpp"

#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace wsync {

// What tells one state of a file from another without reading it. An inode may return within one tick of the clock.
struct FileSignature {
    ino_t inode = 0;
    off_t bytes = 0;
    std::int64_t changed_ns = 0;
    friend bool operator==(const FileSignature&, const FileSignature&) = default;
};

struct FolderItem {
    std::string name;
    bool is_directory = false;
    FileSignature signature;
};

// What write_file adds to a name while it writes.
inline constexpr std::string_view kTemporarySuffix = ",new";

// The steps of write_file, in order; a test may die at each.
enum class WriteStep { created, written, synced, renamed };

class Folder {
public:
    // Makes the folder (0700) and the directories above it where they are missing.
    [[nodiscard]] static Result<Folder> open(const std::string& path);

    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] std::string path_of(std::string_view relative) const;

    // Nothing when the file isn't there. Error{corrupt} when it is no regular file or has more than `max_bytes`.
    [[nodiscard]] Result<std::optional<Bytes>> read_file(std::string_view relative, std::size_t max_bytes) const;
    // Temporary name "NAME,new" beside it, fsync, rename, fsync of the directory. One writer of a name at a time.
    [[nodiscard]] Status write_file(std::string_view relative, std::span<const std::byte> bytes) const;
    // Writes in place into a file that exists; false when it has gone.
    [[nodiscard]] Result<bool> overwrite(std::string_view relative, std::uint64_t offset, std::span<const std::byte> bytes) const;
    // Removes the file, what an interrupted write of it left, and the directories above that are empty then. False: not there.
    [[nodiscard]] Result<bool> remove_file(std::string_view relative) const;
    // Removes the directory where it is empty, and those above that are empty then; the first one is the folder's form and stays.
    void prune(std::string_view directory) const;
    // The names in a directory, sorted; nothing when it isn't there. Symbolic links are items that are no directories.
    [[nodiscard]] Result<std::vector<FolderItem>> list(std::string_view relative) const;
    // Opened read-write, made empty when missing.
    [[nodiscard]] Result<UniqueFd> open_file(std::string_view relative) const;
    // errno and what it means here: the folder has gone, belongs to somebody else, is full or read-only.
    [[nodiscard]] Error error(int errno_value, std::string_view doing, std::string_view relative) const;

    std::function<void(WriteStep)> at_step;  // for tests; called between the steps

private:
    explicit Folder(std::string path) : path_(std::move(path)) {}
    // The directory that holds the last name of `relative`; -1 inside the descriptor when it is missing.
    [[nodiscard]] Result<UniqueFd> open_parent(std::string_view relative, bool make) const;
    [[nodiscard]] Result<UniqueFd> open_directory(std::string_view relative, bool make) const;
    [[nodiscard]] Result<UniqueFd> walk_to(std::string_view relative, bool make, int& failed) const;
    [[nodiscard]] Status write_temporary(int directory, const std::string& name, std::string_view relative, std::span<const std::byte> bytes) const;
    void step(WriteStep which) const {
        if (at_step) at_step(which);
    }

    std::string path_;
};

// A whole write or read of a descriptor; 0 or errno. EINTR is handled. read_some stops at the end of the file.
[[nodiscard]] int write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset);
[[nodiscard]] int read_some(int fd, std::span<std::byte> into, std::size_t& got);

}  // namespace wsync
