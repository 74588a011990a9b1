// The bytes that a peer sends: whole request frames from a buffer, a write's payload past it.
//
// One thread. An Error means that the stream is of no more use (peer_lost, timed_out).
#pragma once

#include "transport/tcp/landing.hpp"
#include "transport/tcp/request.hpp"
#include "wsync/base/deadline.hpp"
#include "wsync/base/unique_fd.hpp"

#include <vector>

namespace wsync::tcp {

class RequestReader {
public:
    // `socket` is borrowed and non-blocking; `peer_process` is a pidfd of the peer or -1.
    RequestReader(int socket, int peer_process, Deadline::clock::duration stall_timeout);

    // Whether a whole frame is in the buffer.
    [[nodiscard]] bool has_frame() const noexcept { return end_ - begin_ >= kRequestBytes; }
    // The frame at the front. Precondition: has_frame().
    [[nodiscard]] std::span<const std::byte, kRequestBytes> frame() const noexcept {
        return std::span<const std::byte, kRequestBytes>(buffer_.data() + begin_, kRequestBytes);
    }
    void pop_frame() noexcept { begin_ += kRequestBytes; }
    // Blocks until has_frame(), however long the peer is silent between frames.
    [[nodiscard]] Status wait_frame();

    // The next bytes of the stream, into `landing` until it is whole.
    [[nodiscard]] Status receive(Landing& landing);
    // The next `bytes`, into `to` (bytes <= to.size()) or, where it is empty, nowhere.
    [[nodiscard]] Status receive(std::span<std::byte> to);
    [[nodiscard]] Status discard(std::uint64_t bytes);

private:
    [[nodiscard]] Result<std::size_t> receive_some(iovec* pieces, std::size_t count, Deadline deadline);
    [[nodiscard]] Status wait_readable(Deadline deadline);

    int socket_, peer_process_;
    Deadline::clock::duration stall_timeout_;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0, end_ = 0;
    std::vector<std::byte> scratch_;
};

}  // namespace wsync::tcp
