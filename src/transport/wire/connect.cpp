#include "transport/wire/endpoint.hpp"
#include "transport/wire/handshake.hpp"
#include "transport/wire/readiness.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <thread>

namespace wsync {
namespace {

Error connect_error(int errno_value, const Endpoint& endpoint) {
    switch (errno_value) {
        case ECONNREFUSED:
        case ENOENT:
            return Error{Code::unavailable, fmt::format("nobody listens on {}", endpoint.address), {}};
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ETIMEDOUT:
        case ECONNRESET:
            return Error{Code::unavailable, fmt::format("{} can't be reached: {}", endpoint.address, std::strerror(errno_value)), {}};
        default:
            return errno_error(errno_value, fmt::format("connecting to {}", endpoint.address));
    }
}

Error connect_timed_out(const Endpoint& endpoint) {
    return Error{Code::timed_out, fmt::format("{} did not accept the connection until the deadline", endpoint.address), {}};
}

Result<UniqueFd> new_socket(int family) {
    UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return errno_error(errno, "making a socket");
    return fd;
}

Result<UniqueFd> connect_unix(const Endpoint& endpoint, Deadline deadline) {
    WSYNC_TRY(const auto address, unix_address(endpoint));
    WSYNC_TRY(auto fd, new_socket(AF_UNIX));
    while (::connect(fd.get(), address.get(), address.size) != 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return connect_error(errno, endpoint);
        // The listener's queue is full; the kernel has no event for its getting shorter.
        if (deadline.expired()) return connect_timed_out(endpoint);
        std::this_thread::sleep_for(std::min<Deadline::clock::duration>(std::chrono::milliseconds(2),
                                                                        deadline.remaining().value_or(std::chrono::milliseconds(2))));
    }
    return fd;
}

// A port of the ephemeral range that nobody listens on can be connected to itself.
bool is_connected_to_itself(int fd) {
    SocketAddress self, peer;
    self.size = peer.size = sizeof(sockaddr_storage);
    if (::getsockname(fd, self.get(), &self.size) != 0 || ::getpeername(fd, peer.get(), &peer.size) != 0) return false;
    return self.size == peer.size && std::memcmp(&self.storage, &peer.storage, self.size) == 0;
}

Result<UniqueFd> connect_to_address(const SocketAddress& address, const Endpoint& endpoint, Deadline deadline) {
    WSYNC_TRY(auto fd, new_socket(address.family()));
    choose_congestion_control(fd.get(), address);
    if (::connect(fd.get(), address.get(), address.size) != 0) {
        if (errno != EINPROGRESS && errno != EINTR) return connect_error(errno, endpoint);
        WSYNC_TRY(const bool ready, wait_ready(fd.get(), POLLOUT, deadline));
        if (!ready) return connect_timed_out(endpoint);
        int failure = 0;
        socklen_t size = sizeof failure;
        if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &failure, &size) != 0) failure = errno;
        if (failure != 0) return connect_error(failure, endpoint);
    }
    if (is_connected_to_itself(fd.get())) return connect_error(ECONNREFUSED, endpoint);
    tune_tcp(fd.get());
    return fd;
}

Result<UniqueFd> connect_tcp(const Endpoint& endpoint, Deadline deadline) {
    WSYNC_TRY(const auto addresses, tcp_addresses(endpoint, false));
    std::optional<Error> first;
    for (const auto& address : addresses) {
        auto fd = connect_to_address(address, endpoint, deadline);
        if (fd) return fd;
        if (!first) first = std::move(fd).error();
        if (deadline.expired()) break;
    }
    return *std::move(first);
}

}  // namespace

Result<Stream> connect_stream(const Endpoint& endpoint, const Handshake& handshake, Deadline deadline) {
    WSYNC_TRY(auto fd, endpoint.is_unix() ? connect_unix(endpoint, deadline) : connect_tcp(endpoint, deadline));
    StreamPeer peer = peer_of(fd.get(), endpoint);
    Stream stream(std::move(fd), std::move(peer));
    WSYNC_TRY_VOID(offer_handshake(stream, handshake, deadline));
    return stream;
}

}  // namespace wsync
