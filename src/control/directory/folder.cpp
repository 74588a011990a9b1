#include "control/directory/folder.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

int open_at(int directory, const char* name, int flags, mode_t mode = 0) {
    int fd = -1;
    do {
        fd = ::openat(directory, name, flags, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

int sync_fd(int fd) {
    int status = 0;
    do {
        status = ::fsync(fd);
    } while (status != 0 && errno == EINTR);
    // Some file systems can't sync a directory; their renames are durable by other means or not at all.
    return status == 0 || errno == EINVAL || errno == ENOTSUP ? 0 : errno;
}

std::pair<std::string_view, std::string> split_last(std::string_view relative) {
    const auto slash = relative.rfind('/');
    if (slash == std::string_view::npos) return {"", std::string(relative)};
    return {relative.substr(0, slash), std::string(relative.substr(slash + 1))};
}

FileSignature signature_of(const struct stat& status) {
    return {status.st_ino, status.st_size, std::int64_t{status.st_ctim.tv_sec} * 1'000'000'000 + status.st_ctim.tv_nsec};
}

}  // namespace

int write_all(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        const auto n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno;
        }
        if (n == 0) return EIO;
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
    return 0;
}

int read_some(int fd, std::span<std::byte> into, std::size_t& got) {
    got = 0;
    while (got < into.size()) {
        const auto n = ::pread(fd, into.data() + got, into.size() - got, static_cast<off_t>(got));
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno;
        }
        if (n == 0) break;
        got += static_cast<std::size_t>(n);
    }
    return 0;
}

Result<Folder> Folder::open(const std::string& path) {
    if (path.empty() || path.find('\0') != std::string::npos || path.find('\n') != std::string::npos) {
        return Error{Code::invalid_argument, "a control folder needs a path: \"dir:/run/policy\"", {}};
    }
    std::error_code failure;
    auto absolute = std::filesystem::absolute(path, failure).lexically_normal().string();
    if (failure) return errno_error(failure.value(), fmt::format("finding the control folder {}", path));
    while (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
    Folder folder(std::move(absolute));
    for (std::size_t at = 1; at != std::string::npos;) {
        at = folder.path_.find('/', at + 1);
        const auto part = folder.path_.substr(0, at);
        if (::mkdir(part.c_str(), 0700) == 0 || errno == EEXIST) continue;
        struct stat status {};
        // A read-only or forbidden directory above is fine as long as the path exists.
        const int reason = errno;
        if (::stat(part.c_str(), &status) != 0) return folder.error(reason, "making the control folder", "");
    }
    struct stat status {};
    if (::stat(folder.path_.c_str(), &status) != 0) return folder.error(errno, "opening the control folder", "");
    if (!S_ISDIR(status.st_mode)) {
        return Error{Code::invalid_argument, fmt::format("{} is not a directory, so it can't be a control folder", folder.path_), {}};
    }
    if ((status.st_mode & S_IWOTH) != 0 && (status.st_mode & S_ISVTX) == 0) {
        return Error{Code::invalid_argument,
                     fmt::format("everybody may write into {}, so its records prove nothing: chmod 700 it, or choose another folder", folder.path_),
                     {}};
    }
    return folder;
}

std::string Folder::path_of(std::string_view relative) const {
    return relative.empty() ? path_ : fmt::format("{}/{}", path_, relative);
}

Error Folder::error(int errno_value, std::string_view doing, std::string_view relative) const {
    struct stat status {};
    if ((errno_value == ENOENT || errno_value == ENOTDIR || errno_value == ESTALE) && ::stat(path_.c_str(), &status) != 0) {
        return Error{Code::unavailable,
                     fmt::format("{}: the control folder {} has gone: was it removed or unmounted? Make it again and reopen the control", doing, path_),
                     {}};
    }
    auto error = errno_error(errno_value, fmt::format("{} {}", doing, path_of(relative)));
    switch (errno_value) {
        case EACCES:
        case EPERM: error.message += fmt::format(" (this process runs as uid {}; the folder belongs to one user: run as that user, or choose another)", ::geteuid()); break;
        case EROFS: error.message += " (put the control folder where processes may write)"; break;
        case ENOSPC:
        case EDQUOT: error.message += " (free some space or inodes there, then try again)"; break;
        case ELOOP:
        case ENOTDIR:
            error.code = Code::corrupt;
            error.message = fmt::format("{} is a symbolic link or no directory; links in a control folder are not followed: remove it", path_of(relative));
            break;
        default: break;
    }
    return error;
}

Result<UniqueFd> Folder::open_directory(std::string_view relative, bool make) const {
    // Another process may prune a directory between its making and its opening: then from the top again.
    for (int attempt = 0;; ++attempt) {
        int failed = 0;
        WSYNC_TRY(auto directory, walk_to(relative, make, failed));
        if (failed == 0 || (failed == ENOENT && !make)) return directory;
        if (failed != ENOENT || attempt == 100) return error(failed, "opening", relative);
    }
}

Result<UniqueFd> Folder::walk_to(std::string_view relative, bool make, int& failed) const {
    UniqueFd directory(open_at(AT_FDCWD, path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return error(errno, "opening", "");
    for (std::size_t at = 0; at < relative.size();) {
        const auto end = std::min(relative.find('/', at), relative.size());
        const std::string name(relative.substr(at, end - at));
        UniqueFd next(open_at(directory.get(), name.c_str(), kDirectoryFlags));
        if (!next && errno == ENOENT && make) {
            if (::mkdirat(directory.get(), name.c_str(), 0700) == 0) {
                failed = sync_fd(directory.get());
            } else if (errno != EEXIST) {
                failed = errno;
            }
            if (failed != 0) return UniqueFd();
            next.reset(open_at(directory.get(), name.c_str(), kDirectoryFlags));
        }
        if (!next) {
            failed = errno;
            return UniqueFd();
        }
        directory = std::move(next);
        at = end + 1;
    }
    return directory;
}

Result<UniqueFd> Folder::open_parent(std::string_view relative, bool make) const { return open_directory(split_last(relative).first, make); }

Result<std::optional<Bytes>> Folder::read_file(std::string_view relative, std::size_t max_bytes) const {
    WSYNC_TRY(auto parent, open_parent(relative, false));
    if (!parent) return std::optional<Bytes>();
    const auto name = split_last(relative).second;
    // Not blocking: a FIFO of this name must not hold us.
    UniqueFd file(open_at(parent.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file) {
        if (errno == ENOENT) return std::optional<Bytes>();
        return error(errno, "opening", relative);
    }
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) return error(errno, "reading", relative);
    if (!S_ISREG(status.st_mode)) return Error{Code::corrupt, fmt::format("{} is not a regular file: remove it", path_of(relative)), {}};
    if (static_cast<std::uint64_t>(status.st_size) > max_bytes) {
        return Error{Code::corrupt, fmt::format("{} has {} bytes, a file of a control folder has at most {}: remove it", path_of(relative), status.st_size, max_bytes), {}};
    }
    Bytes bytes(static_cast<std::size_t>(status.st_size));
    std::size_t got = 0;
    if (const int failed = read_some(file.get(), bytes, got)) return error(failed, "reading", relative);
    bytes.resize(got);
    return std::optional<Bytes>(std::move(bytes));
}

Status Folder::write_temporary(int directory, const std::string& name, std::string_view relative, std::span<const std::byte> bytes) const {
    // What an interrupted writer left, or a link that somebody planted: never written through.
    if (::unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) return error(errno, "replacing", relative);
    UniqueFd file(open_at(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) return error(errno, "making", relative);
    step(WriteStep::created);
    if (const int failed = write_all(file.get(), bytes, 0)) return error(failed, "writing", relative);
    step(WriteStep::written);
    if (const int failed = sync_fd(file.get())) return error(failed, "syncing", relative);
    step(WriteStep::synced);
    return {};
}

Status Folder::write_file(std::string_view relative, std::span<const std::byte> bytes) const {
    const auto name = split_last(relative).second;
    const auto temporary = name + std::string(kTemporarySuffix);
    // Another process may prune the directory between its opening and the first file in it.
    for (int attempt = 0;; ++attempt) {
        WSYNC_TRY(auto parent, open_parent(relative, true));
        auto written = write_temporary(parent.get(), temporary, relative, bytes);
        if (!written) {
            struct stat status {};
            if (attempt < 100 && ::fstat(parent.get(), &status) == 0 && status.st_nlink == 0) continue;
            (void)::unlinkat(parent.get(), temporary.c_str(), 0);
            return written;
        }
        if (::renameat(parent.get(), temporary.c_str(), parent.get(), name.c_str()) != 0) {
            const int reason = errno;
            (void)::unlinkat(parent.get(), temporary.c_str(), 0);
            return error(reason, "renaming", relative);
        }
        step(WriteStep::renamed);
        if (const int failed = sync_fd(parent.get())) return error(failed, "syncing the directory of", relative);
        return {};
    }
}

Result<bool> Folder::overwrite(std::string_view relative, std::uint64_t offset, std::span<const std::byte> bytes) const {
    WSYNC_TRY(auto parent, open_parent(relative, false));
    if (!parent) return false;
    UniqueFd file(open_at(parent.get(), split_last(relative).second.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!file) {
        if (errno == ENOENT) return false;
        return error(errno, "opening", relative);
    }
    if (const int failed = write_all(file.get(), bytes, offset)) return error(failed, "writing", relative);
    return true;
}

Result<bool> Folder::remove_file(std::string_view relative) const {
    WSYNC_TRY(auto parent, open_parent(relative, false));
    if (!parent) return false;
    const auto [directory, name] = split_last(relative);
    (void)::unlinkat(parent.get(), (name + std::string(kTemporarySuffix)).c_str(), 0);
    const bool removed = ::unlinkat(parent.get(), name.c_str(), 0) == 0;
    if (!removed && errno != ENOENT) return error(errno, "removing", relative);
    prune(directory);
    return removed;
}

void Folder::prune(std::string_view directory) const {
    for (auto left = directory; left.find('/') != std::string_view::npos;) {
        const auto [above, last] = split_last(left);
        auto holder = open_directory(above, false);
        if (!holder || !*holder || ::unlinkat(holder->get(), last.c_str(), AT_REMOVEDIR) != 0) break;
        left = above;
    }
}

Result<std::vector<FolderItem>> Folder::list(std::string_view relative) const {
    std::vector<FolderItem> items;
    WSYNC_TRY(auto directory, open_directory(relative, false));
    if (!directory) return items;
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), &::closedir);
    if (!stream) return error(errno, "listing", relative);
    (void)directory.release();  // the stream's now
    while (true) {
        errno = 0;
        const dirent* found = ::readdir(stream.get());
        if (found == nullptr) break;
        const std::string name = found->d_name;
        if (name == "." || name == "..") continue;
        struct stat status {};
        if (::fstatat(::dirfd(stream.get()), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone since
        items.push_back({name, S_ISDIR(status.st_mode), signature_of(status)});
    }
    if (errno != 0) return error(errno, "listing", relative);
    std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return items;
}

Result<UniqueFd> Folder::open_file(std::string_view relative) const {
    WSYNC_TRY(auto parent, open_parent(relative, true));
    UniqueFd file(open_at(parent.get(), split_last(relative).second.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
    if (!file) return error(errno, "opening", relative);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
        return Error{Code::corrupt, fmt::format("{} is not a regular file: remove it", path_of(relative)), {}};
    }
    return file;
}

}  // namespace wsync
