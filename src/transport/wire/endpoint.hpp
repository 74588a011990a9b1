// Endpoints as socket addresses.
#pragma once

#include "transport/wire/stream.hpp"
#include "wsync/base/result.hpp"

#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <vector>

namespace wsync {

// A socket address of any family.
struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] int family() const { return storage.ss_family; }
};

struct HostPort {
    std::string host;
    std::string port;  // decimal, checked
};

// Error{invalid_argument} where the address is no endpoint; it says what one looks like.
[[nodiscard]] Result<HostPort> tcp_host_and_port(const Endpoint& endpoint);
// Error{invalid_argument} for a path longer than the 107 bytes that the kernel takes.
[[nodiscard]] Result<SocketAddress> unix_address(const Endpoint& endpoint);
// By getaddrinfo, in its order; at least one. Error{not_found}: no such host.
[[nodiscard]] Result<std::vector<SocketAddress>> tcp_addresses(const Endpoint& endpoint, bool to_listen);

// "10.0.0.1:4711", "[::1]:4711"
[[nodiscard]] std::string to_text(const SocketAddress& address);
// Whether bytes between the two never leave this machine: a loopback address, or twice the same one.
[[nodiscard]] bool stays_on_host(const SocketAddress& self, const SocketAddress& peer);

// Before connect and before listen (accepted sockets inherit it): reno where the address is a loopback one. A connection
// that has begun under BBR keeps its pacing timers after a change, which costs half of the speed.
void choose_congestion_control(int fd, const SocketAddress& peer_or_listening);

// Keepalive, no delay, and reno for a connection that stays on this host (its default may be far slower there); what
// the system refuses is left as it is. Socket buffers are left to the kernel's tuning.
void tune_tcp(int fd);

// Who is at the other end.
[[nodiscard]] StreamPeer peer_of(int fd, const Endpoint& endpoint);

}  // namespace wsync
