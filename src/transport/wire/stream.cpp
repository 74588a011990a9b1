#include "transport/wire/stream.hpp"

#include "transport/wire/readiness.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>

namespace wsync {
namespace {

// The kernel's own bound (SCM_MAX_FD).
constexpr std::size_t kMaxFds = 253;
// What is allocated on a frame's word before its bytes have come.
constexpr std::size_t kFrameStepBytes = 1U << 20;

Error lost(const StreamPeer& peer, std::string_view what) { return Error{Code::peer_lost, fmt::format("{} {}", peer.name, what), {}}; }

// A connection's errors are the peer's death; everything else is the system's.
Error socket_error(int errno_value, const StreamPeer& peer, std::string_view what) {
    switch (errno_value) {
        case EPIPE:
        case ECONNRESET:
        case ECONNABORTED:
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ENETDOWN:
            return lost(peer, fmt::format("broke the connection ({})", std::strerror(errno_value)));
        default:
            return errno_error(errno_value, fmt::format("{} {}", what, peer.name));
    }
}

Status wait_for(int fd, short events, Deadline deadline, const StreamPeer& peer, std::string_view what, std::size_t done,
                std::size_t all) {
    WSYNC_TRY(const bool ready, wait_ready(fd, events, deadline));
    if (ready) return {};
    return Error{Code::timed_out, fmt::format("{} {}: {} of {} bytes until the deadline", what, peer.name, done, all), {}};
}

// One recvmsg: its bytes, or minus errno. Descriptors that came along are owned at once, whatever else is wrong.
struct Received {
    ssize_t bytes = 0;
    bool fds_lost = false;
};
Received receive_some(int fd, std::span<std::byte> bytes, std::size_t max_fds, std::vector<UniqueFd>& fds) {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
    iovec data{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(std::min(max_fds, kMaxFds) * sizeof(int));
    const ssize_t n = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0) return {-errno, false};
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int received = -1;
            std::memcpy(&received, CMSG_DATA(part) + i * sizeof(int), sizeof received);
            fds.emplace_back(received);
        }
    }
    return {n, (message.msg_flags & MSG_CTRUNC) != 0};
}

}  // namespace

Status Stream::send_all(std::span<const std::byte> bytes, Deadline deadline) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
        const ssize_t n = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            sent += static_cast<std::size_t>(n);
        } else if (errno == EAGAIN) {
            WSYNC_TRY_VOID(wait_for(fd_.get(), POLLOUT, deadline, peer_, "sending to", sent, bytes.size()));
        } else if (errno != EINTR) {
            return socket_error(errno, peer_, "sending to");
        }
    }
    return {};
}

Status Stream::receive_all(std::span<std::byte> bytes, Deadline deadline) {
    std::size_t received = 0;
    while (received < bytes.size()) {
        const ssize_t n = ::recv(fd_.get(), bytes.data() + received, bytes.size() - received, MSG_DONTWAIT);
        if (n > 0) {
            received += static_cast<std::size_t>(n);
        } else if (n == 0) {
            return lost(peer_, fmt::format("hung up after {} of {} bytes", received, bytes.size()));
        } else if (errno == EAGAIN) {
            WSYNC_TRY_VOID(wait_for(fd_.get(), POLLIN, deadline, peer_, "receiving from", received, bytes.size()));
        } else if (errno != EINTR) {
            return socket_error(errno, peer_, "receiving from");
        }
    }
    return {};
}

Status Stream::send_fds(std::span<const std::byte> bytes, std::span<const int> fds, Deadline deadline) {
    if (bytes.empty() || fds.empty() || fds.size() > kMaxFds) {
        return Error{Code::invalid_argument,
                     fmt::format("{} descriptors beside {} bytes: 1 to {} travel beside at least one byte", fds.size(), bytes.size(), kMaxFds),
                     {}};
    }
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxFds * sizeof(int))> control{};
    iovec data{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
    while (true) {
        const ssize_t n = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        // The descriptors went with the first byte; what is left is payload.
        if (n >= 0) return send_all(bytes.subspan(static_cast<std::size_t>(n)), deadline);
        if (errno == EAGAIN) {
            WSYNC_TRY_VOID(wait_for(fd_.get(), POLLOUT, deadline, peer_, "sending to", 0, bytes.size()));
        } else if (errno != EINTR) {
            return socket_error(errno, peer_, "sending to");
        }
    }
}

Result<std::vector<UniqueFd>> Stream::receive_fds(std::span<std::byte> bytes, std::size_t max_fds, Deadline deadline) {
    std::vector<UniqueFd> fds;
    std::size_t received = 0;
    while (received < bytes.size()) {
        const Received some = receive_some(fd_.get(), bytes.subspan(received), max_fds, fds);
        // There was room for those that were agreed: what kept one of them out is this process's own limit.
        if (some.fds_lost && fds.size() < max_fds) {
            return Error{Code::resource_exhausted, fmt::format("a descriptor from {} did not arrive: this process has too many open (ulimit -n)", peer_.name), {}};
        }
        if (some.fds_lost || fds.size() > max_fds) {
            return Error{Code::corrupt, fmt::format("{} sent more than the {} descriptors that were agreed", peer_.name, max_fds), {}};
        }
        if (some.bytes > 0) {
            received += static_cast<std::size_t>(some.bytes);
        } else if (some.bytes == 0) {
            return lost(peer_, fmt::format("hung up after {} of {} bytes", received, bytes.size()));
        } else if (some.bytes == -EAGAIN) {
            WSYNC_TRY_VOID(wait_for(fd_.get(), POLLIN, deadline, peer_, "receiving from", received, bytes.size()));
        } else if (some.bytes != -EINTR) {
            return socket_error(static_cast<int>(-some.bytes), peer_, "receiving from");
        }
    }
    return fds;
}

Status Stream::send_frame(std::span<const std::byte> payload, Deadline deadline) {
    if (payload.size() > UINT32_MAX) {
        return Error{Code::invalid_argument, fmt::format("a frame of {} bytes: the limit is {}", payload.size(), UINT32_MAX), {}};
    }
    // One buffer for small frames, so that they leave in one segment.
    ByteWriter frame;
    frame.u32(static_cast<std::uint32_t>(payload.size()));
    if (payload.size() <= kFrameStepBytes) return send_all(frame.raw(payload).view(), deadline);
    WSYNC_TRY_VOID(send_all(frame.view(), deadline));
    return send_all(payload, deadline);
}

Result<Bytes> Stream::receive_frame(std::size_t max_bytes, Deadline deadline) {
    std::array<std::byte, 4> head{};
    WSYNC_TRY_VOID(receive_all(head, deadline));
    ByteReader reader(head, "frame");
    WSYNC_TRY(const std::size_t size, reader.u32());
    if (size > max_bytes) {
        return Error{Code::corrupt, fmt::format("{} announced a frame of {} bytes, the limit is {}", peer_.name, size, max_bytes), {}};
    }
    Bytes payload;
    for (std::size_t at = 0; at < size;) {
        const std::size_t step = std::min(size - at, kFrameStepBytes);
        payload.resize(at + step);
        WSYNC_TRY_VOID(receive_all(std::span(payload).subspan(at, step), deadline));
        at += step;
    }
    return payload;
}

void Stream::shut_down() noexcept {
    if (fd_) ::shutdown(fd_.get(), SHUT_RDWR);
}

}  // namespace wsync
