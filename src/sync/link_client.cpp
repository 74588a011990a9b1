#include "sync/link.hpp"
#include "sync/link_frames.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <poll.h>

namespace wsync {

using link::Type;

Result<std::unique_ptr<Link>> Link::connect(const std::vector<std::string>& endpoints, const ProcessIdentity& publisher, const Secret& secret,
                                            const std::string& receiver, Deadline deadline) {
    WSYNC_TRY(auto self, current_process());
    const bool same_host = self.boot_id == publisher.boot_id;
    UniqueFd pidfd;
    if (auto opened = open_pidfd(publisher)) {
        pidfd = *std::move(opened);
    } else if (opened.error().code == Code::not_found) {
        return Error{Code::peer_lost, fmt::format("the publisher ({}) is dead", publisher.to_string()), {}};
    }
    Error last{Code::unavailable, fmt::format("the publisher ({}) gave no endpoint that this host can reach", publisher.to_string()), {}};
    for (const auto& address : endpoints) {
        const Endpoint endpoint{address};
        if (endpoint.is_unix() && !same_host) continue;
        auto stream = connect_stream(endpoint, {"link", secret}, deadline);
        if (!stream) {
            last = std::move(stream.error()).within(fmt::format("connecting to {}", address));
            continue;
        }
        std::unique_ptr<Link> made(new Link(*std::move(stream), std::move(pidfd), address));
        auto hello = link::request(Type::hello);
        hello.begin_record(link::kKind);
        write(hello, self);
        hello.text(receiver);
        WSYNC_TRY(auto welcome, made->call(hello, deadline));
        ByteReader in(welcome, "link welcome");
        WSYNC_TRY(auto has_head, in.u8());
        if (has_head != 0) {
            WSYNC_TRY(auto head_bytes, in.blob(4096));
            WSYNC_TRY(auto head, decode_head(head_bytes));
            made->head_ = std::move(head);
        }
        return made;
    }
    return last;
}

Status Link::wait_readable(Deadline deadline) {
    while (true) {
        pollfd polled[2] = {{stream_.fd(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
        const int n = ::poll(polled, pidfd_ ? 2 : 1, deadline.poll_milliseconds());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno_error(errno, "waiting for the publisher");
        // What it said before it died is still worth reading.
        if (polled[0].revents != 0) return {};
        if (n > 0) return Error{Code::peer_lost, "the publisher's process died", {}};
        if (deadline.expired()) return Error{Code::timed_out, "the publisher did not answer in time", {}};
    }
}

Status Link::take_push(ByteReader& in, std::uint8_t type) {
    switch (static_cast<Type>(type)) {
        case Type::head: {
            WSYNC_TRY(auto bytes, in.blob(4096));
            WSYNC_TRY(auto head, decode_head(bytes));
            if (!head_ || head.version.newer_than(head_->version)) head_ = std::move(head);
            return {};
        }
        case Type::revoked: {
            WSYNC_TRY(auto hold, in.u64());
            revoked_.insert(hold);
            return {};
        }
        default: return Error{Code::corrupt, fmt::format("the publisher sent a frame of unknown type {}", type), {}};
    }
}

Status Link::send(std::span<const std::byte> frame, Deadline deadline) {
    std::lock_guard lock(sending_);
    auto sent = stream_.send_frame(frame, deadline);
    if (!sent) stream_.shut_down();  // half a frame may be out: nothing can follow it
    return sent;
}

Result<Bytes> Link::call(ByteWriter& request, Deadline deadline) {
    WSYNC_TRY_VOID(send(request.view(), deadline));
    while (true) {
        auto readable = wait_readable(deadline);
        // An answer that comes late must not be taken for the next one's: the link ends here.
        if (!readable) stream_.shut_down();
        WSYNC_TRY_VOID(readable);
        WSYNC_TRY(auto frame, stream_.receive_frame(link::kMaxReplyBytes, deadline));
        ByteReader in(frame, "link frame");
        WSYNC_TRY(auto type, in.u8());
        if (type == static_cast<std::uint8_t>(Type::reply)) return link::decode_reply(in);
        WSYNC_TRY_VOID(take_push(in, type));
    }
}

Status Link::poll() {
    while (true) {
        pollfd polled[2] = {{stream_.fd(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
        const int n = ::poll(polled, pidfd_ ? 2 : 1, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return {};
        if (polled[0].revents == 0) return Error{Code::peer_lost, "the publisher's process died", {}};
        WSYNC_TRY(auto frame, stream_.receive_frame(link::kMaxReplyBytes, std::chrono::seconds(5)));
        ByteReader in(frame, "link frame");
        WSYNC_TRY(auto type, in.u8());
        WSYNC_TRY_VOID(take_push(in, type));
    }
}

Result<Bytes> Link::blob(const Digest& digest, Deadline deadline) {
    Bytes bytes;
    while (true) {
        auto request = link::request(Type::blob);
        request.digest(digest).u64(bytes.size());
        WSYNC_TRY(auto reply, call(request, deadline));
        ByteReader in(reply, "blob chunk");
        WSYNC_TRY(auto total, in.u64());
        WSYNC_TRY(auto chunk, in.raw(in.remaining()));
        if (total > kMaxBlobBytes) return Error{Code::corrupt, fmt::format("a blob of {} bytes, the limit is {}", total, kMaxBlobBytes), {}};
        bytes.insert(bytes.end(), chunk.begin(), chunk.end());
        if (bytes.size() >= total) break;
        if (chunk.empty()) return Error{Code::corrupt, "a blob ended before its announced size", {}};
    }
    if (digest_of(bytes) != digest) return Error{Code::corrupt, fmt::format("blob {} arrived with another digest", digest.short_hex()), {}};
    return bytes;
}

Result<GrantedHold> Link::hold(std::uint64_t number, HoldKind kind, Deadline deadline) {
    auto request = link::request(Type::hold);
    request.u64(number).u8(static_cast<std::uint8_t>(kind));
    WSYNC_TRY(auto reply, call(request, deadline));
    ByteReader in(reply, "hold");
    GrantedHold granted;
    WSYNC_TRY(granted.hold, link::read_hold(in));
    WSYNC_TRY(auto record, in.blob(16 * 1024));
    WSYNC_TRY(granted.publication, decode_publication(record));
    return granted;
}

Status Link::check(std::uint64_t hold_id, bool release, Deadline deadline) {
    auto request = link::request(Type::check);
    request.u64(hold_id).u8(release ? 1 : 0);
    auto reply = call(request, deadline);
    return reply ? Status{} : Status{std::move(reply).error()};
}

void Link::release(std::uint64_t hold_id) {
    auto request = link::request(Type::release);
    request.u64(hold_id);
    // A failure means that the link is broken, and a broken link has released its holds.
    (void)send(request.view(), std::chrono::seconds(1));
}

Result<std::vector<Digest>> Link::digests(std::uint64_t hold_id, std::span<const BoxRequest> boxes, Deadline deadline) {
    std::vector<Digest> digests;
    digests.reserve(boxes.size());
    while (digests.size() < boxes.size()) {
        const auto part = boxes.subspan(digests.size(), std::min<std::size_t>(kMaxBoxesPerRequest, boxes.size() - digests.size()));
        auto request = link::request(Type::digests);
        request.u64(hold_id).u32(static_cast<std::uint32_t>(part.size()));
        for (const auto& box : part) {
            request.u32(box.shard);
            link::write(request, box.box);
        }
        WSYNC_TRY(auto reply, call(request, deadline));
        ByteReader in(reply, "digest list");
        for (std::size_t i = 0; i < part.size(); ++i) {
            WSYNC_TRY(auto digest, in.digest());
            digests.push_back(digest);
        }
        WSYNC_TRY_VOID(in.finish());
    }
    return digests;
}

}  // namespace wsync
