#include "transport/file/blocking_io.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace wsync::file_transport {
namespace {

// cachestat(2), Linux 6.5: the headers of the build machine may be older than the kernel below.
constexpr long kCachestat = 451;
struct CachestatRange {
    std::uint64_t off, len;
};
struct Cachestat {
    std::uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

// One preadv or pwritev moves this much: the pieces are still in the second-level cache when they are digested.
constexpr std::uint64_t kStepBytes = 512 << 10;
constexpr std::size_t kMaxVectors = 64;

// Consecutive pieces that touch in the file.
struct Run {
    std::size_t first = 0, count = 0;
    std::uint64_t offset = 0, bytes = 0;
    std::array<iovec, kMaxVectors> vectors{};
    std::size_t vector_count = 0;
};

Run next_run(const Chunk& chunk, std::size_t first) {
    Run run;
    run.first = first;
    run.offset = chunk.pieces[first].file_offset;
    for (std::size_t i = first; i < chunk.pieces.size(); ++i) {
        const Piece& p = chunk.pieces[i];
        if (run.count > 0 && (p.file_offset != run.offset + run.bytes || run.bytes + p.bytes > kStepBytes)) break;
        if (run.vector_count > 0) {
            iovec& last = run.vectors[run.vector_count - 1];
            if (static_cast<std::byte*>(last.iov_base) + last.iov_len == p.memory) {
                last.iov_len += p.bytes;
                run.bytes += p.bytes;
                ++run.count;
                continue;
            }
        }
        if (run.vector_count == kMaxVectors) break;
        run.vectors[run.vector_count++] = {p.memory, p.bytes};
        run.bytes += p.bytes;
        ++run.count;
    }
    return run;
}

Status move_run(Run& run, Op op, const OpenFile& file) {
    std::uint64_t moved = 0;
    std::size_t at = 0;
    while (moved < run.bytes) {
        const auto offset = static_cast<off_t>(run.offset + moved);
        const auto vectors = run.vectors.data() + at;
        const auto count = static_cast<int>(run.vector_count - at);
        const ssize_t n = op == Op::read ? ::preadv(file.buffered_fd, vectors, count, offset) : ::pwritev(file.buffered_fd, vectors, count, offset);
        const std::int64_t result = n < 0 ? -errno : n;
        if (result == -EINTR) continue;
        if (result <= 0) return error_of(result, op, file, run.offset + moved);
        moved += static_cast<std::uint64_t>(result);
        for (auto left = static_cast<std::uint64_t>(result); left > 0;) {
            iovec& v = run.vectors[at];
            const std::uint64_t part = std::min<std::uint64_t>(left, v.iov_len);
            v.iov_base = static_cast<std::byte*>(v.iov_base) + part;
            v.iov_len -= part;
            left -= part;
            if (v.iov_len == 0) ++at;
        }
    }
    return {};
}

bool wants_one_digest(const Piece& p) { return p.job->transfer.want_digest && p.job->transfer.rows == 1 && p.whole(); }

// The digest where the piece is all of its job.
std::optional<Digest> put_in_place(const Piece& p, const std::byte* from, const KernelSet& kernels) {
    if (wants_one_digest(p)) return kernels.copy_digest(p.memory, from, p.bytes);
    kernels.copy(p.memory, from, p.bytes);
    return std::nullopt;
}

}  // namespace

Outcome outcome_of(std::int64_t result, std::uint64_t moved, std::uint64_t wanted, bool direct) noexcept {
    if (result == -EINTR || result == -EAGAIN) return Outcome::retry;
    if (direct && (result == -EINVAL || result == -EOPNOTSUPP)) return Outcome::refused;
    if (result <= 0) return Outcome::failed;
    return moved + static_cast<std::uint64_t>(result) >= wanted ? Outcome::complete : Outcome::retry;
}

Error error_of(std::int64_t result, Op op, const OpenFile& file, std::uint64_t offset) {
    if (result == 0 && op == Op::read) {
        // Requests far behind the new end may answer first: the end itself is what helps.
        struct stat st {};
        const bool known = ::fstat(file.buffered_fd, &st) == 0 && static_cast<std::uint64_t>(st.st_size) < offset;
        return Error{Code::corrupt, fmt::format("{} ends at offset {}, but must have {} bytes: it was truncated; write it again", file.path,
                                                known ? static_cast<std::uint64_t>(st.st_size) : offset, file.bytes)};
    }
    if (result == 0) return Error{Code::io_error, fmt::format("writing {} at offset {}: the kernel took no byte", file.path, offset)};
    return errno_error(static_cast<int>(-result), fmt::format("{} {} at offset {}", op == Op::read ? "reading" : "writing", file.path, offset));
}

bool resident(int fd, std::uint64_t offset, std::uint64_t bytes) {
    static constexpr std::uint64_t kPage = 4096;
    const std::uint64_t begin = offset / kPage, end = (offset + bytes + kPage - 1) / kPage;
    CachestatRange range{begin * kPage, (end - begin) * kPage};
    Cachestat stat{};
    if (::syscall(kCachestat, fd, &range, &stat, 0) == 0) return stat.cached >= end - begin;
    // An older kernel, or a file that is not ours: three single bytes tell. Readahead is off for this descriptor, so that
    // asking costs a cold file three pages.
    for (const std::uint64_t at : {offset, offset + bytes / 2, offset + bytes - 1}) {
        std::byte byte{};
        iovec vector{&byte, 1};
        if (::preadv2(fd, &vector, 1, static_cast<off_t>(at), RWF_NOWAIT) != 1) return false;
    }
    return true;
}

Status read_fully(const OpenFile& file, int fd, std::byte* to, std::uint64_t bytes, std::uint64_t offset) {
    for (std::uint64_t moved = 0; moved < bytes;) {
        const ssize_t n = ::pread(fd, to + moved, bytes - moved, static_cast<off_t>(offset + moved));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return error_of(n < 0 ? -errno : 0, Op::read, file, offset + moved);
        moved += static_cast<std::uint64_t>(n);
    }
    return {};
}

Status write_fully(const OpenFile& file, int fd, const std::byte* from, std::uint64_t bytes, std::uint64_t offset) {
    for (std::uint64_t moved = 0; moved < bytes;) {
        const ssize_t n = ::pwrite(fd, from + moved, bytes - moved, static_cast<off_t>(offset + moved));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return error_of(n < 0 ? -errno : 0, Op::write, file, offset + moved);
        moved += static_cast<std::uint64_t>(n);
    }
    return {};
}

void run_buffered(const Chunk& chunk, const OpenFile& file, const KernelSet& kernels, JobTable& jobs, std::byte* window) {
    for (std::size_t i = 0; i < chunk.pieces.size();) {
        Run run = next_run(chunk, i);
        i += run.count;
        if (window != nullptr && chunk.op == Op::read && run.bytes <= kWindowBytes) {
            const Status read = read_fully(file, file.buffered_fd, window, run.bytes, run.offset);
            for (std::size_t k = run.first; k < i; ++k) {
                const Piece& p = chunk.pieces[k];
                if (read) {
                    jobs.settle(p, put_in_place(p, window + (p.file_offset - run.offset), kernels));
                } else {
                    jobs.fail(p, read.error());
                }
            }
            continue;
        }
        // Digested before it is written: the kernel's copy then finds it in cache.
        if (chunk.op == Op::write)
            for (std::size_t k = run.first; k < i; ++k) jobs.digest_source(chunk.pieces[k]);
        const Status moved = move_run(run, chunk.op, file);
        for (std::size_t k = run.first; k < i; ++k) {
            const Piece& p = chunk.pieces[k];
            if (!moved) {
                jobs.fail(p, moved.error());
            } else if (chunk.op == Op::read && wants_one_digest(p)) {
                jobs.settle(p, kernels.digest(p.memory, p.bytes));
            } else {
                jobs.settle(p, std::nullopt);
            }
        }
    }
}

void deliver(const Chunk& chunk, const KernelSet& kernels, JobTable& jobs) {
    for (const Piece& p : chunk.pieces) {
        std::optional<Digest> digest;
        if (chunk.op == Op::read) {
            if (chunk.slot != nullptr) {
                digest = put_in_place(p, chunk.slot + (p.file_offset - chunk.offset), kernels);
            } else if (wants_one_digest(p)) {
                digest = kernels.digest(p.memory, p.bytes);
            }
        }
        jobs.settle(p, digest);
    }
}

void collect(const Chunk& chunk, const KernelSet& kernels, JobTable& jobs) {
    for (const Piece& p : chunk.pieces) {
        std::byte* to = chunk.slot + (p.file_offset - chunk.offset);
        if (wants_one_digest(p)) {
            jobs.digest_source(p, kernels.copy_digest(to, p.memory, p.bytes));
        } else {
            kernels.copy(to, p.memory, p.bytes);
            jobs.digest_source(p);
        }
    }
}

}  // namespace wsync::file_transport
