#include "sync/link.hpp"
#include "sync/link_frames.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <poll.h>

namespace wsync {
namespace {

constexpr std::size_t kMostPushes = 1024;

// Blocks until a frame has begun; false when the holder is dead or the connection broke.
bool wait_for_request(const Stream& stream, int pidfd) {
    while (true) {
        pollfd polled[2] = {{stream.fd(), POLLIN, 0}, {pidfd, POLLIN, 0}};
        const int n = ::poll(polled, pidfd >= 0 ? 2 : 1, -1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        if (pidfd >= 0 && polled[1].revents != 0) return false;
        return true;
    }
}

}  // namespace

struct LinkServer::Impl {
    // One receiver. Replies and pushes share the stream, so that writing takes the connection's lock. Who pushes never waits
    // for it: a reply to a receiver that was stopped may take its time.
    struct Connection {
        Stream& stream;
        bool takes_offers = false;
        std::mutex writing;
        std::mutex queueing;
        std::vector<Bytes> pushes;  // what nobody has written yet
    };

    explicit Impl(LinkService& s) : service(s) {}

    Status send(Connection& connection, std::span<const std::byte> frame, Deadline deadline) {
        auto sent = [&] {
            std::lock_guard lock(connection.writing);
            return send_locked(connection, frame, deadline);
        }();
        write_pushes(connection);
        return sent;
    }
    static Status send_locked(Connection& connection, std::span<const std::byte> frame, Deadline deadline) {
        auto sent = connection.stream.send_frame(frame, deadline);
        if (!sent) connection.stream.shut_down();  // half a frame may be out: nothing can follow it
        return sent;
    }
    // Whoever holds the writing lock looks here again when he has let go of it: nothing stays.
    static void write_pushes(Connection& connection) {
        while (true) {
            {
                std::lock_guard lock(connection.queueing);
                if (connection.pushes.empty()) return;
            }
            std::unique_lock writing(connection.writing, std::try_to_lock);
            if (!writing) return;
            std::vector<Bytes> pushes;
            {
                std::lock_guard lock(connection.queueing);
                pushes.swap(connection.pushes);
            }
            for (const auto& frame : pushes)
                if (!send_locked(connection, frame, Deadline::now())) break;
        }
    }

    void serve(Stream& stream) {
        auto first = stream.receive_frame(link::kMaxRequestBytes, std::chrono::seconds(5));
        if (!first) return;
        auto request = link::decode_request(*first);
        Connection connection{stream, false, {}, {}, {}};
        if (request && !std::holds_alternative<link::Hello>(*request)) request = Error{Code::corrupt, "a link begins with hello", {}};
        if (!request) {
            (void)send(connection, link::reply(request.error(), {}), std::chrono::seconds(1));
            return;
        }
        const auto& [process, receiver, minor] = std::get<link::Hello>(*request);
        connection.takes_offers = minor >= link::kMinorOfOffers;
        UniqueFd pidfd;
        if (auto opened = open_pidfd(process)) pidfd = *std::move(opened);

        std::uint64_t id = 0;
        {
            std::lock_guard lock(mutex);
            if (stopping) return;
            id = next_connection++;
            connections[id] = &connection;
        }
        const std::string holder = fmt::format("receiver {} ({})", receiver, process.to_string());
        const auto welcome = link::encode(link::Welcome{service.head()});
        if (send(connection, link::reply({}, welcome), std::chrono::seconds(5))) {
            while (wait_for_request(stream, pidfd.get())) {
                auto frame = stream.receive_frame(link::kMaxRequestBytes, std::chrono::seconds(30));
                if (!frame) break;
                if (!answer(connection, id, holder, *frame)) break;
            }
        }
        {
            std::lock_guard lock(mutex);
            connections.erase(id);
        }
        service.connection_ended(id);
    }

    // False when the link should end.
    bool answer(Connection& connection, std::uint64_t id, const std::string& holder, std::span<const std::byte> frame) {
        auto request = link::decode_request(frame);
        if (!request) {
            // What can't be read was not written by a receiver of ours: nothing that follows is to be trusted.
            (void)send(connection, link::reply(request.error(), {}), std::chrono::seconds(1));
            return false;
        }
        if (const auto* released = std::get_if<link::ReleaseRequest>(&*request)) {
            service.release(released->hold);
            return true;
        }
        if (const auto* claimed = std::get_if<link::ClaimRequest>(&*request)) {
            service.claim(claimed->hold);
            return true;
        }
        auto payload = std::visit([&](const auto& asked) { return handle(asked, id, holder); }, *request);
        const Status status = payload ? Status{} : Status{payload.error()};
        const auto bytes = payload ? *std::move(payload) : Bytes{};
        return send(connection, link::reply(status, bytes), std::chrono::seconds(30)).has_value();
    }

    Result<Bytes> handle(const link::Hello&, std::uint64_t, const std::string&) { return Error{Code::invalid_argument, "a link says hello once", {}}; }
    // These have no answer; see above.
    Result<Bytes> handle(const link::ReleaseRequest&, std::uint64_t, const std::string&) { return Bytes{}; }
    Result<Bytes> handle(const link::ClaimRequest&, std::uint64_t, const std::string&) { return Bytes{}; }
    Result<Bytes> handle(const link::BlobRequest& request, std::uint64_t, const std::string&) {
        WSYNC_TRY(auto blob, service.blob(request.digest));
        if (request.offset > blob->size()) return Error{Code::invalid_argument, "a blob's chunk begins behind its end", {}};
        return link::encode(
            link::BlobChunk{blob->size(), std::span(*blob).subspan(request.offset, std::min<std::size_t>(kBlobChunkBytes, blob->size() - request.offset))});
    }
    Result<Bytes> handle(const link::HoldRequest& request, std::uint64_t id, const std::string& holder) {
        WSYNC_TRY(auto granted, service.grant(id, request.number, request.kind, holder));
        return link::encode(granted);
    }
    Result<Bytes> handle(const link::CheckRequest& request, std::uint64_t, const std::string&) {
        auto standing = service.check(request.hold);
        if (request.release) service.release(request.hold);
        if (!standing) return standing.error();
        return Bytes{};
    }
    Result<Bytes> handle(const link::DigestsRequest& request, std::uint64_t, const std::string&) {
        WSYNC_TRY(auto digests, service.digests(request.hold, request.boxes));
        return link::encode(std::span<const Digest>(digests));
    }

    static void push(Connection& connection, std::span<const std::byte> frame) {
        {
            std::lock_guard lock(connection.queueing);
            if (connection.pushes.size() >= kMostPushes) {
                connection.stream.shut_down();  // it has not taken anything for long: its link ends
                return;
            }
            connection.pushes.emplace_back(frame.begin(), frame.end());
        }
        write_pushes(connection);
    }

    LinkService& service;
    std::vector<std::unique_ptr<StreamServer>> servers;
    std::mutex mutex;
    std::map<std::uint64_t, Connection*> connections;
    std::uint64_t next_connection = 1;
    bool stopping = false;
};

LinkServer::LinkServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LinkServer::~LinkServer() { stop(); }

Result<std::unique_ptr<LinkServer>> LinkServer::start(const std::vector<Endpoint>& endpoints, const Secret& secret, LinkService& service) {
    std::unique_ptr<LinkServer> server(new LinkServer(std::make_unique<Impl>(service)));
    auto* impl = server->impl_.get();
    for (const auto& endpoint : endpoints) {
        ListenOptions options;
        options.endpoint = endpoint;
        options.handshake = {"link", secret};
        WSYNC_TRY(auto listening, StreamServer::start(std::move(options), [impl](Stream& stream) { impl->serve(stream); }));
        impl->servers.push_back(std::move(listening));
    }
    return server;
}

void LinkServer::serve(Stream& stream) { impl_->serve(stream); }

std::vector<std::string> LinkServer::endpoints() const {
    std::vector<std::string> addresses;
    for (const auto& server : impl_->servers) addresses.push_back(server->endpoint().address);
    return addresses;
}

void LinkServer::push_head(const HeadRecord& head) {
    const auto frame = link::encode(link::Push(head));
    std::lock_guard lock(impl_->mutex);
    for (auto& [id, connection] : impl_->connections) {
        auto offered = connection->takes_offers ? impl_->service.offer(id, head.version.number) : std::nullopt;
        impl_->push(*connection, offered ? link::encode(link::Push(link::Offer{head, *std::move(offered)})) : frame);
    }
}

void LinkServer::push_revoked(std::uint64_t connection, const Hold& hold) {
    const auto frame = link::encode(link::Push(link::Revoked{hold.id}));
    std::lock_guard lock(impl_->mutex);
    if (auto it = impl_->connections.find(connection); it != impl_->connections.end()) impl_->push(*it->second, frame);
}

void LinkServer::stop() {
    {
        std::lock_guard lock(impl_->mutex);
        impl_->stopping = true;
    }
    for (auto& server : impl_->servers) server->stop();
}

}  // namespace wsync
