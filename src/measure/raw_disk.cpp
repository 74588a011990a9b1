#include "measure/raw_disk.hpp"

#include "base/parallel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <liburing.h>
#include <mutex>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <vector>

namespace wsync {
namespace {

std::string_view verb(bool write) { return write ? "writing a probe's file" : "reading a probe's file"; }

Error short_file(bool write) { return Error{Code::io_error, fmt::format("{}: the file ended early", verb(write))}; }

// A part of the whole that one request carries; what the kernel leaves of it is asked for again.
struct Slot {
    std::uint64_t at = 0, left = 0;
};

class Ring {
public:
    Ring() = default;
    ~Ring() {
        if (made_) ::io_uring_queue_exit(&ring_);
    }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    int make(unsigned depth) {
        int outcome = ::io_uring_queue_init(depth, &ring_, 0);
        made_ = outcome == 0;
        return outcome;
    }
    io_uring* get() { return &ring_; }

private:
    io_uring ring_{};
    bool made_ = false;
};

}  // namespace

Result<NamelessFile> NamelessFile::make(const std::string& directory, std::uint64_t bytes, bool want_direct) {
    struct statvfs space {};
    if (::statvfs(directory.c_str(), &space) != 0) return errno_error(errno, fmt::format("looking at directory {}", directory));
    auto free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    if (free < bytes) {
        return Error{Code::resource_exhausted, fmt::format("need {:.1f} GB in {} for a probe's file, {:.1f} GB are free", static_cast<double>(bytes) / 1e9,
                                                           directory, static_cast<double>(free) / 1e9)};
    }
    NamelessFile file;
    file.fd.reset(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file.fd) {  // not every file system has O_TMPFILE
        auto path = directory + "/.wsync-limit-XXXXXX";
        file.fd.reset(::mkostemp(path.data(), O_CLOEXEC));
        if (!file.fd) return errno_error(errno, fmt::format("making a probe's file in {}", directory));
        ::unlink(path.c_str());
    }
    if (want_direct) {
        auto flags = ::fcntl(file.fd.get(), F_GETFL);
        file.direct = flags >= 0 && ::fcntl(file.fd.get(), F_SETFL, flags | O_DIRECT) == 0;
    }
    return file;
}

bool have_io_uring() {
    Ring ring;
    return ring.make(2) == 0;
}

Status transfer_by_ring(int fd, bool write, std::span<std::byte> memory, RawShape shape) {
    Ring ring;
    if (int outcome = ring.make(shape.depth); outcome != 0) return errno_error(-outcome, "making an io_uring");
    std::vector<Slot> slots(shape.depth);
    std::uint64_t next = 0;
    unsigned in_flight = 0;
    Status first;
    auto prepare = [&](std::size_t index) {
        auto& slot = slots[index];
        auto* entry = ::io_uring_get_sqe(ring.get());  // one for each slot: never full
        if (write) {
            ::io_uring_prep_write(entry, fd, memory.data() + slot.at, static_cast<unsigned>(slot.left), slot.at);
        } else {
            ::io_uring_prep_read(entry, fd, memory.data() + slot.at, static_cast<unsigned>(slot.left), slot.at);
        }
        ::io_uring_sqe_set_data(entry, &slot);
        ++in_flight;
    };
    auto refill = [&](std::size_t index) {
        if (next >= memory.size() || !first) return;
        slots[index] = {next, std::min<std::uint64_t>(shape.block_bytes, memory.size() - next)};
        next += slots[index].left;
        prepare(index);
    };
    for (std::size_t i = 0; i < slots.size(); ++i) refill(i);
    // Everything in flight is waited for, after an error too: the memory is the caller's again when this returns.
    while (in_flight > 0) {
        int outcome = ::io_uring_submit_and_wait(ring.get(), 1);
        if (outcome < 0 && outcome != -EINTR && outcome != -EAGAIN && outcome != -EBUSY) return errno_error(-outcome, "waiting for an io_uring");
        io_uring_cqe* completion = nullptr;
        while (::io_uring_peek_cqe(ring.get(), &completion) == 0 && completion != nullptr) {
            auto* slot = static_cast<Slot*>(::io_uring_cqe_get_data(completion));
            auto index = static_cast<std::size_t>(slot - slots.data());
            auto moved = completion->res;
            ::io_uring_cqe_seen(ring.get(), completion);
            --in_flight;
            if (moved == -EINTR || moved == -EAGAIN) {
                if (first) prepare(index);
            } else if (moved <= 0) {
                if (first) first = moved == 0 ? short_file(write) : errno_error(-moved, verb(write));
            } else {
                slot->at += static_cast<std::uint64_t>(moved);
                slot->left -= static_cast<std::uint64_t>(moved);
                if (slot->left > 0 && first) {
                    prepare(index);
                } else {
                    refill(index);
                }
            }
        }
    }
    return first;
}

Status transfer_by_threads(int fd, bool write, std::span<std::byte> memory, RawShape shape) {
    std::mutex mutex;
    Status first;
    auto blocks = (memory.size() + shape.block_bytes - 1) / shape.block_bytes;
    parallel_for(blocks, shape.depth, [&](std::size_t i) {
        auto at = i * shape.block_bytes, end = std::min<std::uint64_t>(at + shape.block_bytes, memory.size());
        while (at < end) {
            auto offset = static_cast<off_t>(at);
            auto moved = write ? ::pwrite(fd, memory.data() + at, end - at, offset) : ::pread(fd, memory.data() + at, end - at, offset);
            if (moved < 0 && errno == EINTR) continue;
            if (moved <= 0) {
                auto error = moved == 0 ? short_file(write) : errno_error(errno, verb(write));
                std::lock_guard lock(mutex);
                if (first) first = std::move(error);
                return;
            }
            at += static_cast<std::uint64_t>(moved);
        }
    });
    return first;
}

}  // namespace wsync
