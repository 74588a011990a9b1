// T: how fast bytes of a slab get into another thread's private memory over a TCP connection of this machine.
#include "measure/limit_variants.hpp"
#include "wsync/base/unique_fd.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>

namespace wsync {
namespace {

constexpr std::size_t kCallBytes = 1 << 20;
constexpr std::uint64_t kWarmBytes = 32 << 20;  // opens the windows; TCP's buffers grow with use
constexpr int kStallSeconds = 30;               // a stall is an error, never a hang

Result<UniqueFd> make_socket() {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) return errno_error(errno, "making a TCP socket");
    timeval stall{kStallSeconds, 0};
    int yes = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &stall, sizeof stall);
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return socket;
}

// Before the connection begins: what is set later has seen the first packets go the other way.
bool set_congestion_control(int socket, const std::string& name) {
    return name.empty() || ::setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) == 0;
}

std::string congestion_control_of(int socket) {
    std::array<char, 16> name{};
    socklen_t size = name.size() - 1;
    if (::getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) != 0) return "unknown";
    return name.data();
}

struct Stream {
    UniqueFd sender, receiver;
};

Result<Stream> connect_stream(const std::string& congestion_control) {
    WSYNC_TRY(auto listener, make_socket());
    WSYNC_TRY(auto sender, make_socket());
    if (!set_congestion_control(listener.get(), congestion_control) || !set_congestion_control(sender.get(), congestion_control)) {
        return Error{Code::unsupported, fmt::format("congestion control {} is not to be had", congestion_control)};
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener.get(), 1) != 0 ||
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return errno_error(errno, "listening on loopback");
    }
    if (::connect(sender.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return errno_error(errno, "connecting over loopback");
    // Whoever else connects to the port first is not our sender.
    sockaddr_in mine{}, peer{};
    size = sizeof mine;
    ::getsockname(sender.get(), reinterpret_cast<sockaddr*>(&mine), &size);
    for (;;) {
        size = sizeof peer;
        UniqueFd receiver(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
        if (!receiver && errno == EINTR) continue;
        if (!receiver) return errno_error(errno, "accepting over loopback");
        if (peer.sin_port != mine.sin_port || peer.sin_addr.s_addr != mine.sin_addr.s_addr) continue;
        timeval stall{kStallSeconds, 0};
        ::setsockopt(receiver.get(), SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall);
        return Stream{std::move(sender), std::move(receiver)};
    }
}

Error socket_error(int number, std::string_view what) {
    if (number == EAGAIN || number == EWOULDBLOCK) return Error{Code::timed_out, fmt::format("{} stood still for {} s", what, kStallSeconds)};
    return errno_error(number, what);
}

enum class Method { send, sendfile };

Status send_part(int socket, Method method, const SharedSlab& slab, const std::byte* from, std::uint64_t begin, std::uint64_t bytes) {
    auto end = begin + bytes;
    while (begin < end) {
        auto want = std::min<std::uint64_t>(kCallBytes, end - begin);
        auto offset = static_cast<off_t>(begin);
        auto sent = method == Method::send ? ::send(socket, from + begin, want, MSG_NOSIGNAL) : ::sendfile(socket, slab.fd(), &offset, want);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return socket_error(sent == 0 ? EPIPE : errno, "sending over loopback");
        begin += static_cast<std::uint64_t>(sent);
    }
    return {};
}

Status receive_part(int socket, std::byte* to, std::uint64_t bytes) {
    while (bytes > 0) {
        auto got = ::recv(socket, to, std::min<std::uint64_t>(kCallBytes, bytes), MSG_WAITALL);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return socket_error(got == 0 ? ECONNRESET : errno, "receiving over loopback");
        to += got;
        bytes -= static_cast<std::uint64_t>(got);
    }
    return {};
}

// Connections of one kind, kept from round to round as wsync keeps its own. After an error they are of no use.
struct Streams {
    std::vector<Stream> streams;

    Result<double> run(Method method, std::uint64_t bytes, const LimitBuffers& buffers) {
        const auto* from = SharedSlab::region(buffers.slab).address;
        auto* to = buffers.buffer->bytes().data();
        auto part = bytes / streams.size();
        std::vector<Status> outcomes(2 * streams.size());
        std::vector<std::thread> threads;
        RateClock clock;
        try {
            for (std::size_t i = 0; i < streams.size(); ++i) {
                auto begin = i * part, size = i + 1 == streams.size() ? bytes - begin : part;
                threads.emplace_back([&, i, begin, size] {
                    outcomes[2 * i] = receive_part(streams[i].receiver.get(), to + begin, size);
                    if (!outcomes[2 * i]) ::shutdown(streams[i].receiver.get(), SHUT_RDWR);  // frees the sender
                });
                threads.emplace_back([&, i, begin, size] {
                    // sendfile has no MSG_NOSIGNAL; a signal that is blocked in this thread ends with it.
                    sigset_t pipe;
                    ::sigemptyset(&pipe);
                    ::sigaddset(&pipe, SIGPIPE);
                    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
                    outcomes[2 * i + 1] = send_part(streams[i].sender.get(), method, *buffers.slab, from, begin, size);
                    if (!outcomes[2 * i + 1]) ::shutdown(streams[i].sender.get(), SHUT_RDWR);  // frees the receiver
                });
            }
        } catch (const std::system_error&) {
            for (auto& stream : streams) ::shutdown(stream.sender.get(), SHUT_RDWR);
            for (auto& thread : threads) thread.join();
            return Error{Code::resource_exhausted, fmt::format("{} threads could not be had", 2 * streams.size())};
        }
        for (auto& thread : threads) thread.join();
        auto rate = clock.rate(bytes);
        for (auto& outcome : outcomes) WSYNC_TRY_VOID(std::move(outcome));
        return rate;
    }
};

}  // namespace

Result<LimitVariants> socket_variants(const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers) {
    LimitVariants variants;
    std::string as_it_comes;
    for (std::string wanted : {"", "reno"}) {
        if (wanted == as_it_comes && !wanted.empty()) continue;  // the system's own is reno
        for (std::size_t count : {1U, 2U}) {
            auto streams = std::make_shared<Streams>();
            bool refused = false;
            for (std::size_t i = 0; i < count; ++i) {
                auto stream = connect_stream(wanted);
                refused = !stream.has_value() && stream.error().code == Code::unsupported;
                if (refused) break;
                if (!stream.has_value()) return std::move(stream).error();
                streams->streams.push_back(*std::move(stream));
            }
            if (refused) continue;
            auto used = congestion_control_of(streams->streams.front().sender.get());
            if (wanted.empty()) as_it_comes = used;
            WSYNC_TRY_VOID(streams->run(Method::send, std::min(options.bytes, kWarmBytes), *buffers));
            for (auto method : {Method::send, Method::sendfile}) {
                variants.push_back({fmt::format("{}, {} stream{}, {}", method == Method::send ? "send" : "sendfile", count, count == 1 ? "" : "s", used),
                                    [streams, method, buffers, bytes = options.bytes] { return streams->run(method, bytes, *buffers); }});
            }
        }
    }
    return variants;
}

}  // namespace wsync
