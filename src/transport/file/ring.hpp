// One io_uring, owned.
#pragma once

#include "wsync/base/result.hpp"

#include <cstdint>
#include <functional>
#include <liburing.h>
#include <memory>

namespace wsync::file_transport {

// One thread at a time, any of them: not IORING_SETUP_SINGLE_ISSUER, which would bind a channel to the thread that used it
// first; with requests of megabytes it gains nothing that could be measured (docs/disk.md).
class Ring {
public:
    // `event`: an eventfd that grows with each completion.
    [[nodiscard]] static Result<std::unique_ptr<Ring>> make(unsigned depth, int event);
    ~Ring() { ::io_uring_queue_exit(&ring_); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // False: the submission queue is full. The memory stays until the completion.
    [[nodiscard]] bool prepare_read(int fd, std::byte* to, std::uint64_t bytes, std::uint64_t offset, std::uint64_t tag);
    [[nodiscard]] bool prepare_write(int fd, const std::byte* from, std::uint64_t bytes, std::uint64_t offset, std::uint64_t tag);
    // Hands what was prepared to the kernel.
    [[nodiscard]] Status submit();
    // What has completed: (tag, bytes or -errno). Does not wait.
    void reap(const std::function<void(std::uint64_t, int)>& visit);
    // Waits for at least one completion; used where nothing else can be waited for (close).
    void wait_one();

private:
    Ring() = default;
    io_uring ring_{};
};

}  // namespace wsync::file_transport
