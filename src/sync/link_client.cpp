#include "sync/link.hpp"
#include "sync/link_frames.hpp"
#include "transport/wire/readiness.hpp"

#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <poll.h>

namespace wsync {

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
        return greet(*std::move(stream), std::move(pidfd), address, receiver, deadline);
    }
    return last;
}

Result<std::unique_ptr<Link>> Link::greet(Stream stream, UniqueFd pidfd, std::string endpoint, const std::string& receiver, Deadline deadline) {
    WSYNC_TRY(const auto self, current_process());
    std::unique_ptr<Link> made(new Link(std::move(stream), std::move(pidfd), std::move(endpoint)));
    WSYNC_TRY(auto frame, made->call(link::encode(link::Hello{self, receiver}), deadline));
    WSYNC_TRY(auto payload, link::decode_reply(frame));
    WSYNC_TRY(auto welcome, link::decode_welcome(payload));
    // A head that was pushed before the welcome is the newer one.
    if (welcome.head && (!made->head_ || welcome.head->version.newer_than(made->head_->version))) made->head_ = std::move(welcome.head);
    return made;
}

Status Link::wait_readable(Deadline deadline) {
    std::array<pollfd, 2> polled{pollfd{stream_.fd(), POLLIN, 0}, pollfd{pidfd_.get(), POLLIN, 0}};
    WSYNC_TRY(const bool ready, wait_ready(polled, deadline));
    if (!ready) return Error{Code::timed_out, "the publisher did not answer in time", {}};
    // What it said before it died is still worth reading.
    if (polled[0].revents != 0) return {};
    return Error{Code::peer_lost, "the publisher's process died", {}};
}

Status Link::take_push(std::span<const std::byte> frame) {
    WSYNC_TRY(auto push, link::decode_push(frame));
    if (const auto* revoked = std::get_if<link::Revoked>(&push)) {
        revoked_.insert(revoked->hold);
        if (offered_ && offered_->hold.id == revoked->hold) offered_.reset();
    } else if (auto* offer = std::get_if<link::Offer>(&push)) {
        take_head(std::move(offer->head), std::move(offer->granted));
    } else {
        take_head(std::move(std::get<HeadRecord>(push)), {});
    }
    return {};
}

void Link::take_head(HeadRecord head, std::optional<GrantedHold> offered) {
    const bool news = !head_ || head.version.newer_than(head_->version);
    // One offer at a time, on the newest version: what is passed over is given back.
    const auto unused = news ? std::exchange(offered_, std::move(offered)) : std::move(offered);
    if (unused) release(unused->hold.id);
    if (news) head_ = std::move(head);
}

Status Link::send(std::span<const std::byte> frame, Deadline deadline) {
    std::lock_guard lock(sending_);
    auto sent = stream_.send_frame(frame, deadline);
    if (!sent) stream_.shut_down();  // half a frame may be out: nothing can follow it
    return sent;
}

Result<Bytes> Link::call(const Bytes& request, Deadline deadline) {
    WSYNC_TRY_VOID(send(request, deadline));
    while (true) {
        auto readable = wait_readable(deadline);
        // An answer that comes late must not be taken for the next one's: the link ends here.
        if (!readable) stream_.shut_down();
        WSYNC_TRY_VOID(readable);
        WSYNC_TRY(auto frame, stream_.receive_frame(link::kMaxReplyBytes, deadline));
        if (link::is_reply(frame)) return frame;
        WSYNC_TRY_VOID(take_push(frame));
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
        WSYNC_TRY_VOID(take_push(frame));
    }
}

Result<Bytes> Link::blob(const Digest& digest, Deadline deadline) {
    Bytes bytes;
    while (true) {
        WSYNC_TRY(auto frame, call(link::encode(link::BlobRequest{digest, bytes.size()}), deadline));
        WSYNC_TRY(auto payload, link::decode_reply(frame));
        WSYNC_TRY(auto chunk, link::decode_blob_chunk(payload));
        bytes.insert(bytes.end(), chunk.bytes.begin(), chunk.bytes.end());
        if (bytes.size() >= chunk.total) break;
        if (chunk.bytes.empty()) return Error{Code::corrupt, "a blob ended before its announced size", {}};
    }
    if (digest_of(bytes) != digest) return Error{Code::corrupt, fmt::format("blob {} arrived with another digest", digest.short_hex()), {}};
    return bytes;
}

Result<GrantedHold> Link::hold(std::uint64_t number, HoldKind kind, Deadline deadline) {
    if (offered_ && kind == HoldKind::serve) {
        WSYNC_TRY_VOID(poll());  // it may have been taken away
        if (offered_ && offered_->hold.number == number && offered_->hold.kind == kind) {
            taken_ = offered_->hold.id;
            return *std::exchange(offered_, std::nullopt);
        }
    }
    WSYNC_TRY(auto frame, call(link::encode(link::HoldRequest{number, kind}), deadline));
    WSYNC_TRY(auto payload, link::decode_reply(frame));
    return link::decode_granted_hold(payload);
}

Status Link::check(std::uint64_t hold_id, bool release, Deadline deadline) {
    WSYNC_TRY(auto frame, call(link::encode(link::CheckRequest{hold_id, release}), deadline));
    WSYNC_TRY(auto payload, link::decode_reply(frame));
    if (!payload.empty()) return Error{Code::corrupt, fmt::format("{} bytes follow the answer to a check", payload.size()), {}};
    return {};
}

void Link::claim(std::uint64_t hold_id) {
    if (taken_ != hold_id) return;
    taken_ = 0;
    (void)send(link::encode(link::ClaimRequest{hold_id}), std::chrono::seconds(1));
}

void Link::release(std::uint64_t hold_id) {
    // A failure means that the link is broken, and a broken link has released its holds.
    (void)send(link::encode(link::ReleaseRequest{hold_id}), std::chrono::seconds(1));
}

Result<std::vector<Digest>> Link::digests(std::uint64_t hold_id, std::span<const BoxRequest> boxes, Deadline deadline) {
    std::vector<Digest> digests;
    digests.reserve(boxes.size());
    while (digests.size() < boxes.size()) {
        const auto part = boxes.subspan(digests.size(), std::min<std::size_t>(kMaxBoxesPerRequest, boxes.size() - digests.size()));
        WSYNC_TRY(auto frame, call(link::encode(link::DigestsRequest{hold_id, {part.begin(), part.end()}}), deadline));
        WSYNC_TRY(auto payload, link::decode_reply(frame));
        WSYNC_TRY(auto answers, link::decode_digests(payload, part.size()));
        digests.insert(digests.end(), answers.begin(), answers.end());
    }
    return digests;
}

}  // namespace wsync
