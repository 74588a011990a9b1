#include "sync/link.hpp"
#include "sync/link_frames.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <poll.h>

namespace wsync {
namespace {

using link::Type;

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
    // One receiver. Replies and pushes share the stream, so that writing takes the connection's lock.
    struct Connection {
        Stream& stream;
        std::mutex writing;
    };

    explicit Impl(LinkService& s) : service(s) {}

    Status send(Connection& connection, std::span<const std::byte> frame, Deadline deadline) {
        std::lock_guard lock(connection.writing);
        auto sent = connection.stream.send_frame(frame, deadline);
        if (!sent) connection.stream.shut_down();  // half a frame may be out: nothing can follow it
        return sent;
    }

    void serve(Stream& stream) {
        auto first = stream.receive_frame(link::kMaxRequestBytes, std::chrono::seconds(5));
        if (!first) return;
        ByteReader in(*first, "link hello");
        auto hello = read_hello(in);
        Connection connection{stream, {}};
        if (!hello) {
            (void)send(connection, link::reply(hello.error(), {}), std::chrono::seconds(1));
            return;
        }
        const auto& [process, receiver] = *hello;
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
        ByteWriter welcome;
        const auto head = service.head();
        welcome.u8(head ? 1 : 0);
        if (head) welcome.blob(encode(*head));
        if (send(connection, link::reply({}, welcome.view()), std::chrono::seconds(5))) {
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

    static Result<std::pair<ProcessIdentity, std::string>> read_hello(ByteReader& in) {
        WSYNC_TRY(auto type, in.u8());
        if (type != static_cast<std::uint8_t>(Type::hello)) return Error{Code::corrupt, "a link begins with hello", {}};
        WSYNC_TRY_VOID([&]() -> Status {
            WSYNC_TRY(auto minor, in.begin_record(link::kKind));
            (void)minor;
            return {};
        }());
        WSYNC_TRY(auto process, read_process_identity(in));
        WSYNC_TRY(auto receiver, in.text(256));
        return std::pair{std::move(process), std::move(receiver)};
    }

    // False when the link should end.
    bool answer(Connection& connection, std::uint64_t id, const std::string& holder, std::span<const std::byte> frame) {
        ByteReader in(frame, "link request");
        auto type = in.u8();
        if (type && *type == static_cast<std::uint8_t>(Type::release)) {
            auto hold = in.u64();
            if (hold) service.release(*hold);
            return hold.has_value();
        }
        auto payload = type ? handle(static_cast<Type>(*type), in, id, holder) : Result<Bytes>(type.error());
        const Status status = payload ? Status{} : Status{payload.error()};
        const auto bytes = payload ? *std::move(payload) : Bytes{};
        return send(connection, link::reply(status, bytes), std::chrono::seconds(30)).has_value();
    }

    Result<Bytes> handle(Type type, ByteReader& in, std::uint64_t id, const std::string& holder) {
        ByteWriter out;
        switch (type) {
            case Type::blob: {
                WSYNC_TRY(auto digest, in.digest());
                WSYNC_TRY(auto offset, in.u64());
                WSYNC_TRY(auto blob, service.blob(digest));
                if (offset > blob->size()) return Error{Code::invalid_argument, "a blob's chunk begins behind its end", {}};
                const auto chunk = std::span(*blob).subspan(offset, std::min(kBlobChunkBytes, blob->size() - offset));
                out.u64(blob->size()).raw(chunk);
                return out.take();
            }
            case Type::hold: {
                WSYNC_TRY(auto number, in.u64());
                WSYNC_TRY(auto kind, in.u8());
                if (kind > static_cast<int>(HoldKind::serve)) return Error{Code::corrupt, "a hold of an unknown kind", {}};
                WSYNC_TRY(auto granted, service.grant(id, number, static_cast<HoldKind>(kind), holder));
                link::write(out, granted.hold);
                out.blob(encode(granted.publication));
                return out.take();
            }
            case Type::check: {
                WSYNC_TRY(auto hold, in.u64());
                WSYNC_TRY(auto release, in.u8());
                auto standing = service.check(hold);
                if (release != 0) service.release(hold);
                if (!standing) return standing.error();
                return Bytes{};
            }
            case Type::digests: {
                WSYNC_TRY(auto hold, in.u64());
                WSYNC_TRY(auto count, in.count(5));
                if (count > kMaxBoxesPerRequest) {
                    return Error{Code::invalid_argument, fmt::format("{} boxes in one request, the limit is {}", count, kMaxBoxesPerRequest), {}};
                }
                std::vector<BoxRequest> boxes(count);
                for (auto& box : boxes) {
                    WSYNC_TRY(box.shard, in.u32());
                    WSYNC_TRY(box.box, link::read_box(in));
                }
                WSYNC_TRY(auto digests, service.digests(hold, boxes));
                for (const auto& digest : digests) out.digest(digest);
                return out.take();
            }
            default: return Error{Code::corrupt, fmt::format("a link request of unknown type {}", static_cast<int>(type)), {}};
        }
    }

    void push(Connection& connection, std::span<const std::byte> frame) { (void)send(connection, frame, Deadline::now()); }

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

std::vector<std::string> LinkServer::endpoints() const {
    std::vector<std::string> addresses;
    for (const auto& server : impl_->servers) addresses.push_back(server->endpoint().address);
    return addresses;
}

void LinkServer::push_head(const HeadRecord& head) {
    auto out = link::request(Type::head);
    out.blob(encode(head));
    std::lock_guard lock(impl_->mutex);
    for (auto& [id, connection] : impl_->connections) impl_->push(*connection, out.view());
}

void LinkServer::push_revoked(std::uint64_t connection, const Hold& hold) {
    auto out = link::request(Type::revoked);
    out.u64(hold.id);
    std::lock_guard lock(impl_->mutex);
    if (auto it = impl_->connections.find(connection); it != impl_->connections.end()) impl_->push(*it->second, out.view());
}

void LinkServer::stop() {
    {
        std::lock_guard lock(impl_->mutex);
        impl_->stopping = true;
    }
    for (auto& server : impl_->servers) server->stop();
}

}  // namespace wsync
