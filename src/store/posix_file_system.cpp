#include "store/file_system.hpp"

#include "memory/file_region.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <numeric>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace wsync {
namespace {

constexpr std::uint64_t kSmallBytes = 64 << 10;  // not worth an allocation of its own
constexpr std::uint64_t kPlainBytes = 2 << 20;  // up to here a system call is faster than setting up a channel

template <class Call>
auto retrying(Call&& call) {
    decltype(call()) result;
    do result = call();
    while (result < 0 && errno == EINTR);
    return result;
}

Result<UniqueFd> open_file(const std::string& path, int flags) {
    UniqueFd fd(retrying([&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644); }));
    if (!fd) return errno_error(errno, fmt::format("opening {}", path));
    return fd;
}

Result<struct stat> status_of(const UniqueFd& fd, const std::string& path) {
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return errno_error(errno, fmt::format("fstat of {}", path));
    return st;
}

// Past RLIMIT_FSIZE the kernel would kill the process with SIGXFSZ.
Status check_file_limit(const std::string& path, std::uint64_t bytes) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur) return {};
    return Error{Code::resource_exhausted, fmt::format("{} needs {} bytes, more than a file may have here ({}): raise ulimit -f", path, bytes, limit.rlim_cur)};
}

Status check(const FileRange& range) {
    if (range.memory == nullptr || !range.memory->host_bytes()) return Error{Code::unsupported, "file I/O needs host memory"};
    if (range.memory_offset > range.memory->bytes || range.bytes > range.memory->bytes - range.memory_offset) {
        return Error{Code::invalid_argument, fmt::format("a range of {} bytes at {} lies outside a region of {}", range.bytes, range.memory_offset,
                                                         range.memory->bytes)};
    }
    if (range.rows == 0 || range.bytes % range.rows != 0) {
        return Error{Code::invalid_argument, fmt::format("{} bytes are not {} rows", range.bytes, range.rows)};
    }
    return {};
}

// Whether every row of the range lies inside a file of so many bytes.
bool inside(const FileRange& range, std::uint64_t file_bytes) {
    const std::uint64_t row_bytes = range.bytes / range.rows;
    if (range.offset > file_bytes || row_bytes > file_bytes - range.offset) return false;
    const std::uint64_t room = file_bytes - range.offset - row_bytes;
    return range.rows == 1 || range.stride <= room / (range.rows - 1);
}

class PosixFileSystem final : public FileSystem {
public:
    explicit PosixFileSystem(Transport* bulk) : bulk_(bulk) {}
    Status create(const std::string& path, std::optional<std::uint64_t> bytes) override;
    Result<std::vector<Digest>> write(const std::string& path, std::span<const FileRange> ranges) override { return move(Op::write, path, ranges); }
    Result<std::vector<Digest>> read(const std::string& path, std::span<const FileRange> ranges) override { return move(Op::read, path, ranges); }
    Status sync(const std::string& path) override;
    Status rename(const std::string& from, const std::string& to) override;
    Status remove(const std::string& path) override;
    Result<DirectoryListing> list(const std::string& directory) override;

private:
    Result<std::vector<Digest>> move(Op op, const std::string& path, std::span<const FileRange> ranges);
    static Result<std::vector<Digest>> move_plainly(Op op, const Region& file, std::span<const FileRange> ranges);
    Result<std::vector<Digest>> move_in_bulk(Op op, const Region& file, std::span<const FileRange> ranges);
    Transport* bulk_;
};

Status PosixFileSystem::create(const std::string& path, std::optional<std::uint64_t> bytes) {
    if (!bytes) {
        if (::mkdir(path.c_str(), 0755) != 0) return errno_error(errno, fmt::format("making the directory {}", path));
        return {};
    }
    WSYNC_TRY(const auto fd, open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW));
    WSYNC_TRY(auto st, status_of(fd, path));
    if (!S_ISREG(st.st_mode)) return Error{Code::invalid_argument, fmt::format("{} is there and not a regular file", path)};
    WSYNC_TRY_VOID(check_file_limit(path, *bytes));
    const auto size = static_cast<off_t>(*bytes);
    if (st.st_size > size && retrying([&] { return ::ftruncate(fd.get(), size); }) != 0) {
        return errno_error(errno, fmt::format("cutting {} to {} bytes", path, *bytes));
    }
    if (static_cast<std::uint64_t>(st.st_blocks) * 512 < *bytes || st.st_size < size) {
        // Zeroed space at once: a full disk is known before the first byte, and the writes need no allocation.
        int result = *bytes < kSmallBytes ? 0 : retrying([&] { return ::fallocate(fd.get(), 0, 0, size); });
        if (result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) result = 0;  // the free space has been looked at
        if (result == 0) result = retrying([&] { return ::ftruncate(fd.get(), size); });
        if (result != 0) return errno_error(errno, fmt::format("allocating {} bytes for {}", *bytes, path));
    }
    return {};
}

Result<std::vector<Digest>> PosixFileSystem::move(Op op, const std::string& path, std::span<const FileRange> ranges) {
    for (const FileRange& range : ranges) WSYNC_TRY_VOID(check(range));
    const auto total = std::accumulate(ranges.begin(), ranges.end(), std::uint64_t{0}, [](auto sum, const FileRange& r) { return sum + r.bytes; });
    WSYNC_TRY(const auto file, open_file_region(path, op == Op::write));
    for (const FileRange& range : ranges) {
        if (!inside(range, file.bytes)) {
            const std::uint64_t end = range.offset + (range.rows - 1) * range.stride + range.bytes / range.rows;
            return Error{op == Op::read ? Code::corrupt : Code::invalid_argument,
                         fmt::format("{} has {} bytes; bytes {} to {} were asked for", path, file.bytes, range.offset, end)};
        }
    }
    if (bulk_ == nullptr || total < kPlainBytes) return move_plainly(op, file, ranges);
    return move_in_bulk(op, file, ranges);
}

Result<std::vector<Digest>> PosixFileSystem::move_plainly(Op op, const Region& file, std::span<const FileRange> ranges) {
    std::vector<Digest> digests;
    digests.reserve(ranges.size());
    for (const FileRange& range : ranges) {
        std::byte* memory = range.memory->address + range.memory_offset;
        const std::uint64_t row_bytes = range.bytes / range.rows;
        for (std::uint64_t moved = 0; moved < range.bytes;) {
            const std::uint64_t in_row = moved % row_bytes;
            const auto offset = static_cast<off_t>(range.offset + moved / row_bytes * range.stride + in_row);
            const ssize_t n = retrying([&] {
                return op == Op::read ? ::pread(file.fd, memory + moved, row_bytes - in_row, offset)
                                      : ::pwrite(file.fd, memory + moved, row_bytes - in_row, offset);
            });
            if (n < 0) return errno_error(errno, fmt::format("{} {} at offset {}", op == Op::read ? "reading" : "writing", file.path, offset));
            if (n == 0) return Error{Code::corrupt, fmt::format("{} ended at offset {}: somebody truncated it", file.path, offset)};
            moved += static_cast<std::uint64_t>(n);
        }
        digests.push_back(digest_of({memory, range.bytes}));
    }
    return digests;
}

Result<std::vector<Digest>> PosixFileSystem::move_in_bulk(Op op, const Region& file, std::span<const FileRange> ranges) {
    ExposeOptions expose;
    expose.allow_write = op == Op::write;
    WSYNC_TRY(const auto exposure, bulk_->expose(file, expose));
    WSYNC_TRY(const auto channel, bulk_->attach(exposure->descriptor(), {}));
    std::vector<Transfer> transfers(ranges.size());
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        Transfer& t = transfers[i];
        t.op = op;
        t.remote_offset = ranges[i].offset;
        t.local = ranges[i].memory;
        t.local_offset = ranges[i].memory_offset;
        t.row_bytes = ranges[i].bytes / ranges[i].rows;
        t.rows = ranges[i].rows;
        t.remote_stride = ranges[i].stride;
        t.local_stride = t.row_bytes;
        t.want_digest = true;
        t.ticket = i;
    }
    std::vector<Digest> digests(ranges.size());
    std::vector<Completion> completions(256);
    for (std::size_t submitted = 0, done = 0; done < transfers.size();) {
        if (submitted < transfers.size()) {
            WSYNC_TRY(const auto accepted, channel->submit(std::span(transfers).subspan(submitted)));
            submitted += accepted;
        }
        WSYNC_TRY(const auto n, channel->wait(completions, Deadline::never()));
        if (n == 0) return Error{Code::internal, fmt::format("{} transfers of {} were lost", transfers.size() - done, file.path)};
        for (std::size_t i = 0; i < n; ++i) {
            WSYNC_TRY_VOID(std::move(completions[i].status));
            if (!completions[i].digest) return Error{Code::internal, fmt::format("a transfer of {} came without its digest", file.path)};
            digests[completions[i].ticket] = *completions[i].digest;
        }
        done += n;
    }
    return digests;
}

Status PosixFileSystem::sync(const std::string& path) {
    WSYNC_TRY(const auto fd, open_file(path, O_RDONLY));
    WSYNC_TRY(const auto st, status_of(fd, path));
    const int result = retrying([&] { return S_ISDIR(st.st_mode) ? ::fsync(fd.get()) : ::fdatasync(fd.get()); });
    if (result != 0) return errno_error(errno, fmt::format("syncing {}", path));
    return {};
}

Status PosixFileSystem::rename(const std::string& from, const std::string& to) {
    struct stat st {};
    const bool there = ::lstat(to.c_str(), &st) == 0;
    if (there && S_ISDIR(st.st_mode)) return Error{Code::invalid_argument, fmt::format("{} is there already", to)};
    if (::rename(from.c_str(), to.c_str()) != 0) return errno_error(errno, fmt::format("renaming {} to {}", from, to));
    return {};
}

Status PosixFileSystem::remove(const std::string& path) {
    if (std::remove(path.c_str()) != 0) return errno_error(errno, fmt::format("removing {}", path));
    return {};
}

Result<DirectoryListing> PosixFileSystem::list(const std::string& directory) {
    struct Closer {
        void operator()(DIR* d) const { ::closedir(d); }
    };
    const std::unique_ptr<DIR, Closer> stream(::opendir(directory.c_str()));
    if (stream == nullptr) return errno_error(errno, fmt::format("listing {}", directory));
    DirectoryListing listing;
    for (;;) {
        errno = 0;
        const dirent* found = ::readdir(stream.get());
        if (found == nullptr) {
            if (errno != 0) return errno_error(errno, fmt::format("listing {}", directory));
            break;
        }
        DirectoryEntry entry;
        entry.name = found->d_name;
        if (entry.name == "." || entry.name == "..") continue;
        struct stat st {};
        if (::fstatat(::dirfd(stream.get()), found->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;  // gone in between
        entry.directory = S_ISDIR(st.st_mode);
        entry.bytes = static_cast<std::uint64_t>(st.st_size);
        entry.allocated_bytes = static_cast<std::uint64_t>(st.st_blocks) * 512;
        listing.entries.push_back(std::move(entry));
    }
    std::sort(listing.entries.begin(), listing.entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    struct statvfs fs {};
    if (::fstatvfs(::dirfd(stream.get()), &fs) != 0) return errno_error(errno, fmt::format("asking for the free space of {}", directory));
    listing.free_bytes = static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize;
    return listing;
}

}  // namespace

std::unique_ptr<FileSystem> make_file_system(Transport* bulk) { return std::make_unique<PosixFileSystem>(bulk); }

}  // namespace wsync
