#include "store/directory_check.hpp"

#include "verify/blocks.hpp"
#include "wsync/model/manifest.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace wsync {

Status check_directory(const std::string& directory, std::string_view what) {
    const auto refused = [&](int error) {
        return errno_error(error, fmt::format("nothing can be written in {}, where {} would be; make it writable, or choose another directory", directory, what));
    };
    struct stat st {};
    if (::stat(directory.c_str(), &st) != 0) {
        if (errno != ENOENT) return refused(errno);
        return Error{Code::not_found, fmt::format("{}, where {} would be, is not there; make it, or choose another directory", directory, what), {}};
    }
    if (!S_ISDIR(st.st_mode)) return Error{Code::invalid_argument, fmt::format("{}, where {} would be, is not a directory", directory, what), {}};
    if (::access(directory.c_str(), W_OK | X_OK) != 0) return refused(errno);
    return {};
}

Status check_room(const std::string& directory, std::uint64_t bytes, std::string_view what) {
    WSYNC_TRY_VOID(check_directory(directory, what));
    struct statvfs fs {};
    if (::statvfs(directory.c_str(), &fs) != 0) return errno_error(errno, fmt::format("asking for the free space of {}", directory));
    const auto free = static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize;
    if (bytes <= free) return {};
    const auto gigabytes = [](std::uint64_t b) { return fmt::format("{:.2f} GB", static_cast<double>(b) / 1e9); };
    return Error{Code::resource_exhausted, fmt::format("no room in {} for {}: {} ({} bytes) are needed, {} ({} bytes) are free; free space, or choose another directory",
                                                       directory, what, gigabytes(bytes), bytes, gigabytes(free), free), {}};
}

std::uint64_t version_bytes(const Manifest& manifest) {
    constexpr std::uint64_t kPage = 4096, kSlack = 128 << 10;
    // Of each tensor: its name three times (header, index, digests) and their numbers; of each block its digest.
    std::uint64_t bytes = manifest.bytes() + kSlack;
    for (const TensorSpec& tensor : manifest.tensors()) bytes += 3 * tensor.name.size() + 512;
    return bytes + sizeof(Digest) * (manifest.bytes() / kBlockBytes + 2 * manifest.size()) + kPage * (manifest.bytes() / 5'000'000'000 + 1);
}

}  // namespace wsync
