#include "transport/wire/endpoint.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace wsync {
namespace {

// A vanished peer is noticed after about 11 seconds where the connection is idle.
constexpr int kKeepaliveIdleSeconds = 5, kKeepaliveIntervalSeconds = 2, kKeepaliveCount = 3;
// While bytes are under way keepalive rests and this counts. It also counts for a living peer that does not read (a
// stopped process with a full window), so it is longer.
constexpr unsigned kUserTimeoutMilliseconds = 30'000;

Error no_endpoint(const Endpoint& endpoint) {
    return Error{Code::invalid_argument,
                 fmt::format("\"{}\" is no endpoint: write unix:PATH, tcp:HOST:PORT or tcp:[IPV6]:PORT", endpoint.address),
                 {}};
}

void set_option(int fd, int level, int name, int value) { (void)::setsockopt(fd, level, name, &value, sizeof value); }

bool is_loopback(const SocketAddress& address) {
    if (address.family() == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
        return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
    }
    if (address.family() == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    }
    return false;
}

bool same_address(const SocketAddress& a, const SocketAddress& b) {
    if (a.family() != b.family()) return false;
    if (a.family() == AF_INET) {
        return reinterpret_cast<const sockaddr_in&>(a.storage).sin_addr.s_addr ==
               reinterpret_cast<const sockaddr_in&>(b.storage).sin_addr.s_addr;
    }
    return std::memcmp(&reinterpret_cast<const sockaddr_in6&>(a.storage).sin6_addr,
                       &reinterpret_cast<const sockaddr_in6&>(b.storage).sin6_addr, sizeof(in6_addr)) == 0;
}

}  // namespace

Result<HostPort> tcp_host_and_port(const Endpoint& endpoint) {
    std::string_view rest = endpoint.address;
    if (!rest.starts_with("tcp:") || rest.find('\0') != std::string_view::npos) return no_endpoint(endpoint);
    rest.remove_prefix(4);
    const auto colon = rest.rfind(':');
    if (colon == std::string_view::npos) return no_endpoint(endpoint);
    std::string_view host = rest.substr(0, colon);
    const std::string_view port = rest.substr(colon + 1);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return no_endpoint(endpoint);
    }
    const bool digits = std::all_of(port.begin(), port.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    if (host.empty() || host.size() > 255 || port.empty() || port.size() > 5 || !digits || std::stoi(std::string(port)) > 65535) {
        return no_endpoint(endpoint);
    }
    return HostPort{std::string(host), std::string(port)};
}

Result<SocketAddress> unix_address(const Endpoint& endpoint) {
    if (!endpoint.is_unix()) return no_endpoint(endpoint);
    const std::string path = endpoint.address.substr(5);
    if (path.empty() || path.find('\0') != std::string::npos) return no_endpoint(endpoint);
    SocketAddress address;
    auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
    if (path.size() >= sizeof un.sun_path) {
        return Error{Code::invalid_argument,
                     fmt::format("the socket path {} has {} bytes, a Unix socket's has at most {}: choose a shorter directory", path,
                                 path.size(), sizeof un.sun_path - 1),
                     {}};
    }
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.data(), path.size());
    address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    return address;
}

Result<std::vector<SocketAddress>> tcp_addresses(const Endpoint& endpoint, bool to_listen) {
    WSYNC_TRY(const auto where, tcp_host_and_port(endpoint));
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (to_listen ? AI_PASSIVE : 0);
    addrinfo* found = nullptr;
    if (const int rc = ::getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &found); rc != 0) {
        return Error{rc == EAI_AGAIN ? Code::unavailable : Code::not_found,
                     fmt::format("the host of {} can't be resolved: {}", endpoint.address, ::gai_strerror(rc)),
                     {}};
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    std::vector<SocketAddress> addresses;
    for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
        if (one->ai_addrlen > sizeof(sockaddr_storage)) continue;
        SocketAddress address;
        std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
        address.size = one->ai_addrlen;
        addresses.push_back(address);
    }
    if (addresses.empty()) return Error{Code::not_found, fmt::format("{} has no address", endpoint.address), {}};
    return addresses;
}

std::string to_text(const SocketAddress& address) {
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (::getnameinfo(address.get(), address.size, host.data(), host.size(), port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "unknown address";
    }
    return address.family() == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data()) : fmt::format("{}:{}", host.data(), port.data());
}

bool stays_on_host(const SocketAddress& self, const SocketAddress& peer) { return is_loopback(peer) || same_address(self, peer); }

void choose_congestion_control(int fd, const SocketAddress& peer_or_listening) {
    if (is_loopback(peer_or_listening)) (void)::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

void tune_tcp(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleSeconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveIntervalSeconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveCount);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kUserTimeoutMilliseconds));
    SocketAddress self, peer;
    self.size = peer.size = sizeof(sockaddr_storage);
    if (::getsockname(fd, self.get(), &self.size) != 0 || ::getpeername(fd, peer.get(), &peer.size) != 0) return;
    if (stays_on_host(self, peer)) (void)::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

StreamPeer peer_of(int fd, const Endpoint& endpoint) {
    StreamPeer peer;
    if (endpoint.is_unix()) {
        ucred credentials{};
        socklen_t size = sizeof credentials;
        if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
            // The kernel shows pid 0 for a process that has no number in our namespace.
            peer.pid = credentials.pid > 0 ? credentials.pid : -1;
            peer.uid = credentials.uid;
        }
        peer.name = peer.pid > 0 ? fmt::format("pid {}", peer.pid) : fmt::format("the peer at {}", endpoint.address);
        return peer;
    }
    SocketAddress address;
    address.size = sizeof(sockaddr_storage);
    peer.name = ::getpeername(fd, address.get(), &address.size) == 0 ? to_text(address) : fmt::format("the peer at {}", endpoint.address);
    return peer;
}

}  // namespace wsync
