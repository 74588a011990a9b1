#include "partial_file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync::tool {

PartialFile::~PartialFile() {
    if (address_ != nullptr) ::munmap(address_, bytes_);
}

Result<std::span<std::byte>> PartialFile::open(const std::string& path, std::uint64_t bytes) {
    if (address_ != nullptr) ::munmap(std::exchange(address_, nullptr), bytes_);
    path_ = path;
    bytes_ = std::max<std::uint64_t>(bytes, 1);
    fd_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd_) return errno_error(errno, "making " + path);
    if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) return Error{Code::unavailable, fmt::format("{} is being written by another pull: wait for it, or choose another --out", path), {}};
    struct stat info {};
    if (::fstat(fd_.get(), &info) != 0) return errno_error(errno, "looking at " + path);
    resumed_ = static_cast<std::uint64_t>(info.st_size) == bytes_;
    if (!resumed_ && ::ftruncate(fd_.get(), 0) != 0) return errno_error(errno, "emptying " + path);
    if (const int failed = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(bytes_)); failed != 0) {
        if (!resumed_) ::unlink(path.c_str());
        return errno_error(failed, fmt::format("reserving {} bytes for {}", bytes_, path));
    }
    void* mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (mapped == MAP_FAILED) return errno_error(errno, "mapping " + path);
    address_ = static_cast<std::byte*>(mapped);
    return std::span(address_, bytes_);
}

void PartialFile::remove() noexcept {
    if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace wsync::tool
