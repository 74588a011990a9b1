// The link between one receiver and one rank of a publisher: holds, blobs, digests and wake-ups.
//
// One authenticated stream. The receiver asks and is answered in order; the publisher may push heads and revocations in
// between. A hold belongs to its link and ends with it: the publisher sees the receiver's death by pidfd on one host, by
// the connection elsewhere.
#pragma once

#include "sync/holds.hpp"
#include "sync/records.hpp"
#include "transport/wire/stream.hpp"
#include "wsync/model/box.hpp"

#include <mutex>
#include <set>

namespace wsync {

inline constexpr std::size_t kBlobChunkBytes = 1 << 20;
inline constexpr std::size_t kMaxBlobBytes = std::size_t{1} << 30;
inline constexpr std::uint32_t kMaxBoxesPerRequest = 4096;

// A box of one of the rank's shards (index within the rank) whose digest is asked for.
struct BoxRequest {
    std::uint32_t shard = 0;
    Box box;
};

struct GrantedHold {
    Hold hold;
    PublicationRecord publication;
};

// The publisher's side of every link. Called from the links' threads.
class LinkService {
public:
    virtual ~LinkService() = default;
    [[nodiscard]] virtual Result<std::shared_ptr<const Bytes>> blob(const Digest& digest) = 0;
    [[nodiscard]] virtual Result<GrantedHold> grant(std::uint64_t connection, std::uint64_t number, HoldKind kind, const std::string& holder) = 0;
    // What the receiver behind the connection is given before it asks, if anything; claimed when it uses that.
    [[nodiscard]] virtual std::optional<GrantedHold> offer(std::uint64_t connection, std::uint64_t number) = 0;
    virtual void claim(std::uint64_t hold_id) = 0;
    virtual void release(std::uint64_t hold_id) = 0;
    [[nodiscard]] virtual Status check(std::uint64_t hold_id) = 0;
    [[nodiscard]] virtual Result<std::vector<Digest>> digests(std::uint64_t hold_id, std::span<const BoxRequest> boxes) = 0;
    virtual void connection_ended(std::uint64_t connection) = 0;
    [[nodiscard]] virtual std::optional<HeadRecord> head() = 0;
};

class LinkServer {
public:
    // `service` is borrowed and outlives the server.
    [[nodiscard]] static Result<std::unique_ptr<LinkServer>> start(const std::vector<Endpoint>& endpoints, const Secret& secret, LinkService& service);
    ~LinkServer();
    // One connected and proved stream, from hello to its end, on the caller's thread: what each connection to an endpoint
    // gets. stop() ends those of the endpoints; who lends a stream ends it himself.
    void serve(Stream& stream);
    [[nodiscard]] std::vector<std::string> endpoints() const;
    // To every link, with what the service offers it; a link that does not take it at once is dropped: a stalled receiver can't hold up the trainer.
    void push_head(const HeadRecord& head);
    void push_revoked(std::uint64_t connection, const Hold& hold);
    void stop();

private:
    struct Impl;
    explicit LinkServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// The receiver's side. One thread, but release(), which any may call.
class Link {
public:
    // Tries the endpoints in order (Unix first where it can be reached).
    [[nodiscard]] static Result<std::unique_ptr<Link>> connect(const std::vector<std::string>& endpoints, const ProcessIdentity& publisher,
                                                               const Secret& secret, const std::string& receiver, Deadline deadline);
    // Says hello on a connected and proved stream. `pidfd` of the publisher, or none; `endpoint` is for messages.
    [[nodiscard]] static Result<std::unique_ptr<Link>> greet(Stream stream, UniqueFd pidfd, std::string endpoint, const std::string& receiver,
                                                             Deadline deadline);

    [[nodiscard]] Result<Bytes> blob(const Digest& digest, Deadline deadline);
    // By an offer that came with the head, without waiting for an answer, where there is one.
    [[nodiscard]] Result<GrantedHold> hold(std::uint64_t number, HoldKind kind, Deadline deadline);
    // Whether the hold still stands; with `release` it ends with the answer.
    [[nodiscard]] Status check(std::uint64_t hold_id, bool release, Deadline deadline);
    // The hold that an offer brought, if that was `hold_id`, is in use from now on. Does not wait for an answer.
    void claim(std::uint64_t hold_id);
    // Does not wait for an answer.
    void release(std::uint64_t hold_id);
    [[nodiscard]] Result<std::vector<Digest>> digests(std::uint64_t hold_id, std::span<const BoxRequest> boxes, Deadline deadline);

    // Takes in what was pushed, without blocking. Error{peer_lost} when the publisher has gone.
    [[nodiscard]] Status poll();
    // The newest head that was pushed.
    [[nodiscard]] const std::optional<HeadRecord>& head() const { return head_; }
    [[nodiscard]] bool revoked(std::uint64_t hold_id) const { return revoked_.contains(hold_id); }
    [[nodiscard]] int fd() const { return stream_.fd(); }
    [[nodiscard]] int pidfd() const { return pidfd_.get(); }  // -1 where there is none
    [[nodiscard]] const std::string& endpoint() const { return endpoint_; }

private:
    Link(Stream stream, UniqueFd pidfd, std::string endpoint)
        : stream_(std::move(stream)), pidfd_(std::move(pidfd)), endpoint_(std::move(endpoint)) {}
    // The reply's frame; what is pushed before it is taken in.
    [[nodiscard]] Result<Bytes> call(const Bytes& request, Deadline deadline);
    [[nodiscard]] Status wait_readable(Deadline deadline);
    [[nodiscard]] Status take_push(std::span<const std::byte> frame);
    void take_head(HeadRecord head, std::optional<GrantedHold> offered);
    [[nodiscard]] Status send(std::span<const std::byte> frame, Deadline deadline);

    Stream stream_;
    std::mutex sending_;
    UniqueFd pidfd_;
    std::string endpoint_;
    std::optional<HeadRecord> head_;
    std::optional<GrantedHold> offered_;  // on head_, not taken
    std::uint64_t taken_ = 0;             // an offer's hold that the publisher still takes for unclaimed
    std::set<std::uint64_t> revoked_;
};

}  // namespace wsync
