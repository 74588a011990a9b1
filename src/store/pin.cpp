#include "store/pin.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace wsync {

Result<std::optional<Pin>> Pin::lock(const std::string& directory, std::string_view lock_file, int operation) {
    UniqueFd inside(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!inside) return errno_error(errno, fmt::format("opening the directory {}", directory));
    struct stat opened {}, now {};
    if (::fstat(inside.get(), &opened) != 0) return errno_error(errno, fmt::format("fstat of {}", directory));
    // A network file system wants a writable descriptor for an exclusive lock, and readers may have no other right.
    const int access = operation == LOCK_EX ? O_RDWR : O_RDONLY;
    UniqueFd fd(::openat(inside.get(), lock_file.data(), access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) {
        if (errno != ENOENT) return errno_error(errno, fmt::format("opening {}/{}", directory, lock_file));
        fd = std::move(inside);
    }
    int result;
    do result = ::flock(fd.get(), operation | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result != 0) {
        if (errno == EWOULDBLOCK) return std::optional<Pin>();
        return errno_error(errno, fmt::format("locking {}", directory));
    }
    // It may have been renamed, or removed, between opening and locking: then the lock is on something else.
    if (::stat(directory.c_str(), &now) != 0 || now.st_ino != opened.st_ino || now.st_dev != opened.st_dev) {
        return Error{Code::not_found, fmt::format("{} was removed while it was being opened", directory)};
    }
    return std::optional<Pin>(Pin(std::move(fd)));
}

Result<Pin> Pin::shared(const std::string& directory) {
    WSYNC_TRY(auto pin, lock(directory, kLockFile, LOCK_SH));
    if (!pin) return Error{Code::unavailable, fmt::format("{} is being written or recycled by its publisher: take a newer version", directory)};
    return *std::move(pin);
}

Result<std::optional<Pin>> Pin::try_exclusive(const std::string& directory, std::string_view lock_file) {
    return lock(directory, lock_file, LOCK_EX);
}

Result<Pin> Pin::downgrade(Pin exclusive, const std::string& directory) {
    // The kernel lets go of the one lock before it takes the other: a new pin looks whether the directory is still there.
    { const Pin ended = std::move(exclusive); }
    return shared(directory);
}

}  // namespace wsync
