#include "memory/file_region.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace wsync {

Result<Region> open_file_region(const std::string& path, bool writable) {
    int fd;
    do fd = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return errno_error(errno, fmt::format("opening {}", path));
    return file_region_of(UniqueFd(fd), path, writable);
}

Result<Region> file_region_of(UniqueFd fd, const std::string& path, bool writable) {
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return errno_error(errno, fmt::format("fstat of {}", path));
    if (!S_ISREG(status.st_mode)) return Error{Code::invalid_argument, fmt::format("{} is not a regular file", path)};
    Region region;
    region.kind = MemoryKind::file;
    region.bytes = static_cast<std::uint64_t>(status.st_size);
    region.writable = writable;
    region.fd = fd.get();
    region.path = path;
    region.owner = std::make_shared<const UniqueFd>(std::move(fd));
    return region;
}

}  // namespace wsync
