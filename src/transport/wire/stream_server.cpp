#include "transport/wire/endpoint.hpp"
#include "transport/wire/handshake.hpp"
#include "transport/wire/listener.hpp"
#include "transport/wire/readiness.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <list>
#include <mutex>
#include <system_error>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace wsync {
namespace {

// A thread that no signal is delivered to: they are the program's own threads' affair. Nothing where the system has no
// thread left.
template <class Body>
Result<std::thread> start_thread(Body body) {
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    Result<std::thread> started = Error{Code::resource_exhausted, "no more threads can be started", {}};
    try {
        started = std::thread(std::move(body));
    } catch (const std::system_error&) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
}

struct Connection {
    // A duplicate of the stream's descriptor: stop() breaks the connection by it, wherever `serve` has put the stream.
    UniqueFd handle;
    std::thread thread;
    bool proven = false, finished = false;
};

}  // namespace

struct StreamServer::Impl {
    Impl(ListenOptions given, Serve given_serve, Listener given_listener, UniqueFd given_wake)
        : options(std::move(given)), serve(std::move(given_serve)), listener(std::move(given_listener)), wake(std::move(given_wake)) {}

    void accept_loop();
    void take(UniqueFd fd);
    void run(Connection& connection, Stream stream);
    bool admit(Connection& connection);
    void reap();
    void signal() const noexcept {
        const std::uint64_t one = 1;
        (void)!::write(wake.get(), &one, sizeof one);
    }

    const ListenOptions options;
    const Serve serve;
    std::optional<Listener> listener;
    Endpoint endpoint{listener->endpoint()};
    const UniqueFd wake;
    std::thread acceptor;
    std::mutex mutex;  // guards what follows
    bool stopping = false;
    std::list<Connection> connections;  // oldest first
};

void StreamServer::Impl::accept_loop() {
    while (true) {
        std::array<pollfd, 2> ready{pollfd{wake.get(), POLLIN, 0}, pollfd{listener->fd(), POLLIN, 0}};
        (void)wait_ready(ready, Deadline::never());
        std::uint64_t count = 0;
        (void)!::read(wake.get(), &count, sizeof count);
        reap();
        {
            const std::lock_guard lock(mutex);
            if (stopping) return;
        }
        auto accepted = listener->accept();
        if (!accepted) {
            // Out of descriptors or memory; the connection stays queued. Whoever frees some does not tell us.
            pollfd only_wake{wake.get(), POLLIN, 0};
            (void)wait_ready(std::span(&only_wake, 1), std::chrono::milliseconds(50));
            continue;
        }
        if (*accepted) take(*std::move(accepted));
    }
}

void StreamServer::Impl::take(UniqueFd fd) {
    UniqueFd handle(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!handle) return;
    StreamPeer peer = peer_of(fd.get(), endpoint);
    const std::lock_guard lock(mutex);
    const auto unproven = [](const Connection& one) { return !one.proven && !one.finished; };
    if (static_cast<std::size_t>(std::count_if(connections.begin(), connections.end(), unproven)) >= options.max_unproven) {
        // Strangers who say nothing must not keep others out: the one that has had the most time goes.
        ::shutdown(std::find_if(connections.begin(), connections.end(), unproven)->handle.get(), SHUT_RDWR);
    }
    Connection& connection = connections.emplace_back();
    connection.handle = std::move(handle);
    // The thread waits for `mutex` before it touches the connection.
    auto started = start_thread([this, &connection, stream = Stream(std::move(fd), std::move(peer))]() mutable { run(connection, std::move(stream)); });
    if (!started) {
        connections.pop_back();
        return;
    }
    connection.thread = *std::move(started);
}

bool StreamServer::Impl::admit(Connection& connection) {
    const std::lock_guard lock(mutex);
    const auto served = std::count_if(connections.begin(), connections.end(), [](const Connection& one) { return one.proven && !one.finished; });
    if (static_cast<std::size_t>(served) >= options.max_connections) return false;
    connection.proven = true;
    return true;
}

void StreamServer::Impl::run(Connection& connection, Stream stream) {
    const auto admitted = [&] { return admit(connection); };
    if (answer_handshake(stream, options.handshake, admitted, options.handshake_timeout)) serve(stream);
    // Not only close: a forked child may have copies.
    stream.shut_down();
    const std::lock_guard lock(mutex);
    connection.handle.reset();
    connection.finished = true;
    signal();
}

void StreamServer::Impl::reap() {
    std::list<Connection> done;
    {
        const std::lock_guard lock(mutex);
        for (auto at = connections.begin(); at != connections.end();) {
            const auto next = std::next(at);
            if (at->finished) done.splice(done.end(), connections, at);
            at = next;
        }
    }
    for (auto& connection : done) connection.thread.join();
}

StreamServer::StreamServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

StreamServer::~StreamServer() { stop(); }

Result<std::unique_ptr<StreamServer>> StreamServer::start(ListenOptions options, Serve serve) {
    WSYNC_TRY(auto listener, Listener::open(options.endpoint));
    UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake) return errno_error(errno, "making an eventfd");
    auto impl = std::make_unique<Impl>(std::move(options), std::move(serve), std::move(listener), std::move(wake));
    WSYNC_TRY(impl->acceptor, start_thread([raw = impl.get()] { raw->accept_loop(); }));
    return std::unique_ptr<StreamServer>(new StreamServer(std::move(impl)));
}

const Endpoint& StreamServer::endpoint() const noexcept { return impl_->endpoint; }

void StreamServer::stop() noexcept {
    if (!impl_->acceptor.joinable()) return;
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->stopping = true;
    }
    impl_->signal();
    impl_->acceptor.join();
    // Nobody finds a name that nobody serves.
    impl_->listener.reset();
    {
        const std::lock_guard lock(impl_->mutex);
        for (const auto& connection : impl_->connections) {
            if (connection.handle) ::shutdown(connection.handle.get(), SHUT_RDWR);
        }
    }
    // No thread is added any more, so the list's shape is ours.
    for (auto& connection : impl_->connections) connection.thread.join();
    impl_->connections.clear();
}

}  // namespace wsync
