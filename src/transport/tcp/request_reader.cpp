#include "transport/tcp/request_reader.hpp"

#include "transport/wire/readiness.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>

namespace wsync::tcp {
namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr std::size_t kScratchBytes = 256 * 1024;
constexpr std::size_t kPieceBytes = 1 << 20;

}  // namespace

RequestReader::RequestReader(int socket, int peer_process, Deadline::clock::duration stall_timeout)
    : socket_(socket), peer_process_(peer_process), stall_timeout_(stall_timeout), buffer_(kBufferBytes) {}

Status RequestReader::wait_frame() {
    while (!has_frame()) {
        if (begin_ > 0) {
            std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
        }
        iovec room{buffer_.data() + end_, buffer_.size() - end_};
        // Silence between frames is no fault; half a frame is.
        WSYNC_TRY(const auto got, receive_some(&room, 1, end_ == 0 ? Deadline::never() : Deadline(stall_timeout_)));
        end_ += got;
    }
    return {};
}

Status RequestReader::receive(Landing& landing) {
    if (scratch_.empty()) scratch_.resize(kScratchBytes);
    Pieces pieces(scratch_);
    while (!landing.whole()) {
        pieces.clear();
        landing.prepare(pieces, begin_ < end_ ? end_ - begin_ : kPieceBytes);
        if (begin_ < end_) {  // the front of the payload came along with its request
            std::size_t taken = 0;
            for (std::size_t i = 0; i < pieces.count(); ++i) {
                std::memcpy(pieces.data()[i].iov_base, buffer_.data() + begin_ + taken, pieces.data()[i].iov_len);
                taken += pieces.data()[i].iov_len;
            }
            begin_ += taken;
            landing.landed(taken);
        } else {
            WSYNC_TRY(const auto got, receive_some(pieces.data(), pieces.count(), Deadline(stall_timeout_)));
            landing.landed(got);
        }
    }
    return {};
}

Status RequestReader::receive(std::span<std::byte> to) {
    const auto buffered = std::min(to.size(), end_ - begin_);
    std::memcpy(to.data(), buffer_.data() + begin_, buffered);
    begin_ += buffered;
    for (auto at = buffered; at < to.size();) {
        iovec room{to.data() + at, to.size() - at};
        WSYNC_TRY(const auto got, receive_some(&room, 1, Deadline(stall_timeout_)));
        at += got;
    }
    return {};
}

Status RequestReader::discard(std::uint64_t bytes) {
    if (scratch_.empty()) scratch_.resize(kScratchBytes);
    while (bytes > 0) {
        const auto part = std::min<std::uint64_t>(bytes, scratch_.size());
        WSYNC_TRY_VOID(receive(std::span(scratch_).first(part)));
        bytes -= part;
    }
    return {};
}

Result<std::size_t> RequestReader::receive_some(iovec* pieces, std::size_t count, Deadline deadline) {
    for (;;) {
        msghdr message{};
        message.msg_iov = pieces;
        message.msg_iovlen = count;
        const auto got = ::recvmsg(socket_, &message, MSG_DONTWAIT);
        if (got > 0) return static_cast<std::size_t>(got);
        if (got == 0) return Error{Code::peer_lost, "the peer hung up"};
        if (errno == EAGAIN) {
            WSYNC_TRY_VOID(wait_readable(deadline));
        } else if (errno != EINTR) {
            return Error{Code::peer_lost, errno_error(errno, "receiving from the peer").message};
        }
    }
}

Status RequestReader::wait_readable(Deadline deadline) {
    std::array<pollfd, 2> items{pollfd{socket_, POLLIN, 0}, pollfd{peer_process_, POLLIN, 0}};
    WSYNC_TRY(const bool ready, wait_ready(items, deadline));
    if (!ready) return Error{Code::timed_out, "the peer stopped in the middle of a request"};
    // Its last bytes are of no use: nobody waits for the answer.
    if (items[1].revents != 0) return Error{Code::peer_lost, "the peer died"};
    return {};
}

}  // namespace wsync::tcp
