#include "transport/tcp/response_writer.hpp"

#include "transport/wire/readiness.hpp"

#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

namespace wsync::tcp {
namespace {

constexpr std::size_t kPipeBytes = 1 << 20;
constexpr std::size_t kMaxPieces = 512;             // below IOV_MAX
constexpr std::size_t kScratchBytes = 256 * 1024;
constexpr std::uint64_t kBatchBytes = 1 << 20;      // copied or spliced at a time
constexpr std::size_t kSendfileBytes = 8 << 20;
constexpr std::array<std::byte, 64 * 1024> kZeros{};

Error lost(int error) { return Error{Code::peer_lost, errno_error(error, "sending to the peer").message}; }

}  // namespace

ResponseWriter::ResponseWriter(int socket, int peer_process, const WriterOptions& options)
    : socket_(socket), peer_process_(peer_process), options_(options), scratch_(kScratchBytes) {
    pieces_.reserve(kMaxPieces);
    if (!options_.splice) return;
    int ends[2];
    // Without a pipe (the user's pipe pages or descriptors are used up) everything is copied or sent by sendfile.
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        options_.splice = false;
        return;
    }
    pipe_out_.reset(ends[0]);
    pipe_in_.reset(ends[1]);
    ::fcntl(pipe_in_.get(), F_SETPIPE_SZ, static_cast<int>(kPipeBytes));
    // Some kernels splice into a non-blocking socket and block all the same.
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(options_.stall_timeout).count();
    timeval limit{.tv_sec = static_cast<time_t>(seconds), .tv_usec = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

Status ResponseWriter::control(std::span<const std::byte> bytes) {
    WSYNC_TRY_VOID(turn_to(Mode::copy));
    return gather(bytes.data(), bytes.size());
}

Status ResponseWriter::payload(const Region& region, std::uint64_t offset, std::uint64_t bytes) {
    if (bytes == 0) return {};
    if (region.address == nullptr) return send_file(region, offset, bytes);
    const bool big = bytes >= options_.splice_bytes;
    if (big && !options_.splice && region.fd >= 0) return send_file(region, offset, bytes);
    WSYNC_TRY_VOID(turn_to(big && options_.splice ? Mode::splice : Mode::copy));
    if (bytes < options_.gather_bytes) return gather(region.address + offset, bytes);
    if (pieces_.size() >= kMaxPieces || pieces_bytes_ >= kBatchBytes) {
        WSYNC_TRY_VOID(mode_ == Mode::splice ? send_spliced() : send_copied(true));
    }
    pieces_.push_back({region.address + offset, static_cast<std::size_t>(bytes)});
    pieces_bytes_ += bytes;
    return {};
}

Status ResponseWriter::gather(const std::byte* from, std::size_t bytes) {
    if (gathered_ + bytes > scratch_.size() || pieces_.size() >= kMaxPieces) WSYNC_TRY_VOID(send_copied(true));
    auto* to = scratch_.data() + gathered_;
    std::memcpy(to, from, bytes);
    gathered_ += bytes;
    pieces_bytes_ += bytes;
    if (!pieces_.empty()) {
        auto& last = pieces_.back();
        if (static_cast<std::byte*>(last.iov_base) + last.iov_len == to) {
            last.iov_len += bytes;
            return {};
        }
    }
    pieces_.push_back({to, bytes});
    return {};
}

Status ResponseWriter::turn_to(Mode mode) {
    if (mode == mode_) return {};
    WSYNC_TRY_VOID(mode_ == Mode::splice ? send_spliced() : send_copied(true));
    mode_ = mode;
    return {};
}

Status ResponseWriter::flush(bool more) {
    if (mode_ == Mode::splice) {
        WSYNC_TRY_VOID(send_spliced());
    } else if (!pieces_.empty()) {
        WSYNC_TRY_VOID(send_copied(more));
    }
    if (!more && held_) {
        int on = 1;  // said again, it pushes what was held back
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        held_ = false;
    }
    return {};
}

Status ResponseWriter::send_copied(bool more) {
    while (pieces_bytes_ > 0) {
        msghdr message{};
        message.msg_iov = pieces_.data() + next_;
        message.msg_iovlen = std::min<std::size_t>(pieces_.size() - next_, IOV_MAX);
        const auto sent = ::sendmsg(socket_, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent >= 0) {
            held_ = more;
            drop_sent(static_cast<std::size_t>(sent));
        } else if (errno == EAGAIN) {
            WSYNC_TRY_VOID(wait_writable());
        } else if (errno == EFAULT) {
            // A mapped file shrank. Which piece it was does not matter: the answer is void.
            const auto left = pieces_bytes_;
            const auto error = errno_error(EFAULT, "reading the exposed region (was its file truncated?)");
            drop_sent(left);
            WSYNC_TRY_VOID(send_zeros(left, error));
        } else if (errno != EINTR) {
            return lost(errno);
        }
    }
    pieces_.clear();
    next_ = 0;
    gathered_ = 0;
    return {};
}

Status ResponseWriter::send_spliced() {
    while (pieces_bytes_ > 0) {
        const auto filled = ::vmsplice(pipe_in_.get(), pieces_.data() + next_, pieces_.size() - next_, SPLICE_F_NONBLOCK);
        if (filled < 0) {
            if (errno == EINTR) continue;
            // Not to be had here (a seccomp filter, gVisor), or not from this memory: copied from now on.
            options_.splice = false;
            mode_ = Mode::copy;
            return send_copied(true);
        }
        drop_sent(static_cast<std::size_t>(filled));
        auto left = static_cast<std::size_t>(filled);
        while (left > 0) {
            const auto sent = ::splice(pipe_out_.get(), nullptr, socket_, nullptr, left, SPLICE_F_MORE);
            if (sent > 0) {
                held_ = true;
                left -= static_cast<std::size_t>(sent);
            } else if (sent < 0 && errno == EAGAIN) {
                WSYNC_TRY_VOID(wait_writable());
            } else if (sent == 0 || errno != EINTR) {
                return lost(sent == 0 ? EPIPE : errno);
            }
        }
    }
    pieces_.clear();
    next_ = 0;
    return {};
}

Status ResponseWriter::send_file(const Region& region, std::uint64_t offset, std::uint64_t bytes) {
    WSYNC_TRY_VOID(turn_to(Mode::copy));
    WSYNC_TRY_VOID(send_copied(true));
    auto at = static_cast<off_t>(region.fd_offset + offset);
    while (bytes > 0) {
        const auto sent = ::sendfile(socket_, region.fd, &at, std::min<std::uint64_t>(bytes, kSendfileBytes));
        if (sent > 0) {
            held_ = false;
            bytes -= static_cast<std::uint64_t>(sent);
        } else if (sent == 0) {
            return send_zeros(bytes, Error{Code::io_error, fmt::format("{} ends at byte {}: it shrank after it was exposed",
                                                                       region.path.empty() ? "the exposed file" : region.path, at)});
        } else if (errno == EAGAIN) {
            WSYNC_TRY_VOID(wait_writable());
        } else if (errno == EPIPE || errno == ECONNRESET || errno == ETIMEDOUT || errno == ENOTCONN) {
            return lost(errno);
        } else if (errno != EINTR) {
            return send_zeros(bytes, errno_error(errno, fmt::format("reading {}", region.path.empty() ? "the exposed file" : region.path)));
        }
    }
    return {};
}

Status ResponseWriter::send_zeros(std::uint64_t bytes, Error why) {
    if (!source_error_) source_error_ = std::move(why);
    while (bytes > 0) {
        const auto sent = ::send(socket_, kZeros.data(), std::min<std::uint64_t>(bytes, kZeros.size()), MSG_NOSIGNAL | MSG_MORE);
        if (sent >= 0) {
            held_ = true;
            bytes -= static_cast<std::uint64_t>(sent);
        } else if (errno == EAGAIN) {
            WSYNC_TRY_VOID(wait_writable());
        } else if (errno != EINTR) {
            return lost(errno);
        }
    }
    return {};
}

// A peer that takes nothing for stall_timeout is given up; each bit of progress starts the time anew.
Status ResponseWriter::wait_writable() {
    std::array<pollfd, 2> items{pollfd{socket_, POLLOUT, 0}, pollfd{peer_process_, POLLIN, 0}};
    WSYNC_TRY(const bool ready, wait_ready(items, Deadline(options_.stall_timeout)));
    if (!ready) {
        return Error{Code::timed_out, fmt::format("the peer took no byte for {} s",
                                                  std::chrono::duration_cast<std::chrono::seconds>(options_.stall_timeout).count())};
    }
    if (items[1].revents != 0) return Error{Code::peer_lost, "the peer died"};
    return {};
}

void ResponseWriter::drop_sent(std::size_t bytes) {
    pieces_bytes_ -= bytes;
    while (bytes > 0) {
        auto& piece = pieces_[next_];
        const auto part = std::min(bytes, piece.iov_len);
        piece.iov_base = static_cast<std::byte*>(piece.iov_base) + part;
        piece.iov_len -= part;
        bytes -= part;
        if (piece.iov_len == 0) ++next_;
    }
}

}  // namespace wsync::tcp
