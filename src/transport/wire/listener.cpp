#include "transport/wire/listener.hpp"

#include "transport/wire/endpoint.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

constexpr int kBacklog = 128;

Error in_use(const Endpoint& endpoint) {
    return Error{Code::unavailable, fmt::format("another process listens on {} already", endpoint.address), {}};
}

// Makes room for a socket at a path where something is already: only for one whose process has gone.
Status remove_stale_socket(const Endpoint& endpoint, const SocketAddress& address) {
    const std::string path = endpoint.address.substr(5);
    struct stat before {};
    if (::lstat(path.c_str(), &before) != 0) {
        if (errno == ENOENT) return {};
        return errno_error(errno, fmt::format("looking at {}", path));
    }
    if (!S_ISSOCK(before.st_mode)) {
        return Error{Code::invalid_argument, fmt::format("{} is there and is no socket: remove it or choose another path", path), {}};
    }
    UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!probe) return errno_error(errno, "making a socket");
    if (::connect(probe.get(), address.get(), address.size) == 0 || errno == EAGAIN) return in_use(endpoint);
    if (errno != ECONNREFUSED && errno != ENOENT) return errno_error(errno, fmt::format("asking who listens on {}", path));
    // Somebody else may have cleared up and begun to listen meanwhile.
    struct stat after {};
    if (::lstat(path.c_str(), &after) == 0 && (after.st_ino != before.st_ino || after.st_dev != before.st_dev)) return in_use(endpoint);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error(errno, fmt::format("removing the stale socket {}", path));
    return {};
}

// The path under which a socket is bound before anybody listens on it.
Endpoint hidden(const Endpoint& endpoint) {
    Endpoint other = endpoint;
    const auto at = other.address.find_last_of(":/") + 1;
    const auto name = other.address.substr(at);
    if (name.size() < 3) {
        other.address.insert(at, ".,");  // "." and ".." are taken
    } else {
        other.address[at] = name[0] == '.' ? ',' : '.';
    }
    return other;
}

Result<UniqueFd> listen_unix(const Endpoint& endpoint) {
    WSYNC_TRY(const auto address, unix_address(endpoint));
    // A name that refuses a connection must be a dead process's, so that others can clear it away: it is shown only when
    // somebody listens.
    const auto unseen = hidden(endpoint);
    WSYNC_TRY(const auto unseen_address, unix_address(unseen));
    const std::string path = endpoint.address.substr(5), unseen_path = unseen.address.substr(5);
    WSYNC_TRY_VOID(remove_stale_socket(unseen, unseen_address));
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return errno_error(errno, "making a socket");
    // Before bind, so that the path never has another mode; umask belongs to the whole process.
    if (::fchmod(fd.get(), 0600) != 0) return errno_error(errno, fmt::format("setting the mode of {}", endpoint.address));
    if (::bind(fd.get(), unseen_address.get(), unseen_address.size) != 0) return errno_error(errno, fmt::format("binding {}", endpoint.address));
    const auto show = [&]() -> Status {
        if (::listen(fd.get(), kBacklog) != 0) return errno_error(errno, fmt::format("listening on {}", endpoint.address));
        if (::renameat2(AT_FDCWD, unseen_path.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return {};
        if (errno == EEXIST) {
            WSYNC_TRY_VOID(remove_stale_socket(endpoint, address));
            if (::renameat2(AT_FDCWD, unseen_path.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return {};
            if (errno == EEXIST) return in_use(endpoint);
        }
        return errno_error(errno, fmt::format("binding {}", endpoint.address));
    };
    auto shown = show();
    if (!shown) {
        ::unlink(unseen_path.c_str());
        return std::move(shown).error();
    }
    return fd;
}

Result<UniqueFd> listen_on(const SocketAddress& address, const Endpoint& endpoint, bool fixed_port) {
    UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return errno_error(errno, "making a socket");
    if (fixed_port) {
        // A restarted process takes its port again although old connections linger.
        const int on = 1;
        (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    choose_congestion_control(fd.get(), address);
    if (::bind(fd.get(), address.get(), address.size) != 0 || ::listen(fd.get(), kBacklog) != 0) {
        if (errno == EADDRINUSE) return in_use(endpoint);
        return errno_error(errno, fmt::format("listening on {}", endpoint.address));
    }
    return fd;
}

Result<UniqueFd> listen_tcp(Endpoint& endpoint) {
    WSYNC_TRY(const auto where, tcp_host_and_port(endpoint));
    WSYNC_TRY(const auto addresses, tcp_addresses(endpoint, true));
    Result<UniqueFd> fd = Error{Code::not_found, "no address", {}};
    for (const auto& address : addresses) {
        fd = listen_on(address, endpoint, std::stoi(where.port) != 0);
        if (fd) break;
    }
    WSYNC_TRY(auto listening, std::move(fd));
    SocketAddress self;
    self.size = sizeof(sockaddr_storage);
    if (::getsockname(listening.get(), self.get(), &self.size) != 0) return errno_error(errno, fmt::format("reading the port of {}", endpoint.address));
    const auto port = self.family() == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(self.storage).sin6_port
                                                : reinterpret_cast<const sockaddr_in&>(self.storage).sin_port;
    const bool bare = where.host.find(':') == std::string::npos;
    endpoint.address = bare ? fmt::format("tcp:{}:{}", where.host, ntohs(port)) : fmt::format("tcp:[{}]:{}", where.host, ntohs(port));
    return listening;
}

}  // namespace

Result<Listener> Listener::open(const Endpoint& endpoint) {
    Endpoint real = endpoint;
    WSYNC_TRY(auto fd, endpoint.is_unix() ? listen_unix(endpoint) : listen_tcp(real));
    Listener listener(std::move(fd), std::move(real));
    if (endpoint.is_unix()) {
        struct stat status {};
        if (::lstat(endpoint.address.substr(5).c_str(), &status) == 0) {
            listener.inode_ = status.st_ino;
            listener.device_ = status.st_dev;
            listener.owner_ = ::getpid();
        }
    }
    return listener;
}

Listener::~Listener() {
    if (!fd_ || inode_ == 0 || owner_ != ::getpid()) return;
    const std::string path = endpoint_.address.substr(5);
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0 && status.st_ino == inode_ && status.st_dev == device_) ::unlink(path.c_str());
}

Result<UniqueFd> Listener::accept() {
    while (true) {
        UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (fd) {
            if (!endpoint_.is_unix()) tune_tcp(fd.get());
            return fd;
        }
        switch (errno) {
            case EINTR:
            case ECONNABORTED:
            // accept(2): an error of the new connection, not of the listener.
            case EPROTO:
            case ENETDOWN:
            case ENOPROTOOPT:
            case EHOSTDOWN:
            case ENONET:
            case EHOSTUNREACH:
            case ENETUNREACH:
                continue;
            case EAGAIN:
                return UniqueFd{};
            default:
                return errno_error(errno, fmt::format("accepting on {}", endpoint_.address));
        }
    }
}

}  // namespace wsync
