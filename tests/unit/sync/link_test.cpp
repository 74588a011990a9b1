// A link over a socket pair: what each side says, what it says when the other breaks off, stalls or speaks nonsense.
#include "sync/link_frames.hpp"

#include "result_matchers.hpp"

#include <condition_variable>
#include <sys/socket.h>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;

Bytes numbered(std::size_t bytes) {
    Bytes out(bytes);
    for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 2654435761U >> 24);
    return out;
}

HeadRecord head(std::uint64_t number) { return {{"policy", "run", 1, number, number * 10, number - 1, {}}}; }

// A publisher of version 2 with one blob.
class Service final : public LinkService {
public:
    explicit Service(std::size_t blob_bytes) : blob_(std::make_shared<const Bytes>(numbered(blob_bytes))), digest_(digest_of(*blob_)) {}
    Result<std::shared_ptr<const Bytes>> blob(const Digest& digest) override {
        if (digest != digest_) return Error{Code::not_found, "no such blob here", {}};
        return blob_;
    }
    Result<GrantedHold> grant(std::uint64_t connection, std::uint64_t number, HoldKind kind, const std::string& holder) override {
        std::lock_guard lock(mutex_);
        if (number != 2) return Error{Code::unavailable, "version 2 is all there is", {}};
        const Hold hold{next_++, number, 1, 6, kind};
        standing_[hold.id] = connection;
        holder_ = holder;
        connection_ = connection;
        PublicationRecord record;
        record.number = number;
        record.step = 20;
        record.directory = "/models/policy/v1.2";
        return GrantedHold{hold, record};
    }
    std::optional<GrantedHold> offer(std::uint64_t connection, std::uint64_t number) override {
        if (!offers) return {};
        std::lock_guard lock(mutex_);
        const Hold hold{next_++, number, 0, 8, HoldKind::serve};
        standing_[hold.id] = connection;
        PublicationRecord record;
        record.number = number;
        return GrantedHold{hold, record};
    }
    void claim(std::uint64_t hold_id) override {
        std::lock_guard lock(mutex_);
        claimed_.insert(hold_id);
        changed_.notify_all();
    }
    void release(std::uint64_t hold_id) override {
        std::lock_guard lock(mutex_);
        standing_.erase(hold_id);
        changed_.notify_all();
    }
    Status check(std::uint64_t hold_id) override {
        std::lock_guard lock(mutex_);
        return standing_.contains(hold_id) ? Status{} : Status{Error{Code::corrupt, "the hold was revoked", {}}};
    }
    Result<std::vector<Digest>> digests(std::uint64_t, std::span<const BoxRequest> boxes) override {
        std::vector<Digest> out;
        for (const auto& box : boxes) out.push_back(digest_of(as_bytes_of(std::to_string(box.shard) + box.box.to_string())));
        ++digest_requests;
        return out;
    }
    void connection_ended(std::uint64_t connection) override {
        std::lock_guard lock(mutex_);
        std::erase_if(standing_, [&](const auto& entry) { return entry.second == connection; });
        ended_ = true;
        changed_.notify_all();
    }
    std::optional<HeadRecord> head() override { return newest; }

    bool wait_until_no_hold_stands() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, 10s, [&] { return standing_.empty(); });
    }
    bool wait_until_claimed(std::uint64_t hold_id) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, 10s, [&] { return claimed_.contains(hold_id); });
    }
    bool wait_until_released(std::uint64_t hold_id) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, 10s, [&] { return !standing_.contains(hold_id); });
    }
    bool wait_until_ended() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, 10s, [&] { return ended_; });
    }
    std::size_t standing() {
        std::lock_guard lock(mutex_);
        return standing_.size();
    }
    const Digest& digest() const { return digest_; }
    std::string holder() {
        std::lock_guard lock(mutex_);
        return holder_;
    }
    std::uint64_t connection() {
        std::lock_guard lock(mutex_);
        return connection_;
    }
    std::optional<HeadRecord> newest = wsync::head(2);
    std::atomic<int> digest_requests{0};
    std::atomic<bool> offers{false};

private:
    std::shared_ptr<const Bytes> blob_;
    Digest digest_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::uint64_t, std::uint64_t> standing_;
    std::set<std::uint64_t> claimed_;
    std::uint64_t next_ = 1, connection_ = 0;
    std::string holder_;
    bool ended_ = false;
};

std::pair<Stream, Stream> stream_pair() {
    int ends[2];
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
    return {Stream(UniqueFd(ends[0]), {.name = "publisher"}), Stream(UniqueFd(ends[1]), {.name = "receiver"})};
}

// The publisher's side in a thread of its own, until the test or the receiver ends it.
struct Served {
    explicit Served(std::size_t blob_bytes = 3 * kBlobChunkBytes + 17) : service(blob_bytes), server(LinkServer::start({}, {}, service).value()), streams(stream_pair()) {
        thread = std::thread([this] {
            server->serve(streams.first);
            streams.first.shut_down();
        });
    }
    ~Served() {
        streams.first.shut_down();
        if (thread.joinable()) thread.join();
    }
    Result<std::unique_ptr<Link>> greet() { return Link::greet(std::move(streams.second), {}, "unix:pair", "rollout-3", 5s); }

    Service service;
    std::unique_ptr<LinkServer> server;
    std::pair<Stream, Stream> streams;
    std::thread thread;
};

TEST(Link, SaysHelloAndHearsTheHead) {
    Served served;
    auto link = served.greet();
    ASSERT_OK(link);
    ASSERT_TRUE((*link)->head());
    EXPECT_EQ((*link)->head()->version, head(2).version);
    EXPECT_EQ((*link)->endpoint(), "unix:pair");
    EXPECT_OK((*link)->poll());
}

TEST(Link, ThereMayBeNoHeadYet) {
    Served served;
    served.service.newest.reset();
    auto link = served.greet();
    ASSERT_OK(link);
    EXPECT_FALSE((*link)->head());
}

TEST(Link, ABlobOfSeveralChunksArrivesWhole) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, kBlobChunkBytes, kBlobChunkBytes + 1, 3 * kBlobChunkBytes + 17}) {
        Served served(bytes);
        auto link = served.greet().value();
        const auto blob = link->blob(served.service.digest(), 10s);
        ASSERT_OK(blob) << bytes;
        EXPECT_EQ(*blob, numbered(bytes));
        EXPECT_THAT(link->blob(digest_of(as_bytes_of("another")), 10s), HasError(Code::not_found, "no such blob"));
    }
}

TEST(Link, HoldsAreGrantedCheckedAndReleased) {
    Served served;
    auto link = served.greet().value();
    const auto granted = link->hold(2, HoldKind::install, 5s);
    ASSERT_OK(granted);
    EXPECT_EQ(granted->hold.kind, HoldKind::install);
    EXPECT_EQ(granted->hold.slab, 1u);
    EXPECT_EQ(granted->publication.directory, "/models/policy/v1.2");
    EXPECT_NE(served.service.holder().find("rollout-3"), std::string::npos);
    EXPECT_OK(link->check(granted->hold.id, false, 5s));
    link->release(granted->hold.id);
    ASSERT_TRUE(served.service.wait_until_no_hold_stands());
    EXPECT_THAT(link->check(granted->hold.id, false, 5s), HasError(Code::corrupt, "revoked"));
    // Checked and released in one.
    const auto second = link->hold(2, HoldKind::copy, 5s).value();
    EXPECT_OK(link->check(second.hold.id, true, 5s));
    EXPECT_EQ(served.service.standing(), 0u);
    EXPECT_THAT(link->hold(1, HoldKind::copy, 5s), HasError(Code::unavailable, "version 2 is all"));
}

TEST(Link, AnOfferNeedsNoAnswer) {
    Served served;
    auto link = served.greet().value();
    served.service.offers = true;
    served.server->push_head(head(3));
    ASSERT_OK(link->poll());
    ASSERT_EQ(link->head()->version, head(3).version);
    // The service grants nothing but version 2: this one came with the head.
    EXPECT_THAT(link->hold(3, HoldKind::install, 5s), HasCode(Code::unavailable));
    const auto granted = link->hold(3, HoldKind::serve, 5s);
    ASSERT_OK(granted);
    EXPECT_EQ(granted->hold.generation, 8u);
    EXPECT_EQ(granted->publication.number, 3u);
    EXPECT_OK(link->check(granted->hold.id, false, 5s));
    link->claim(granted->hold.id);
    EXPECT_TRUE(served.service.wait_until_claimed(granted->hold.id));
    EXPECT_THAT(link->hold(3, HoldKind::serve, 5s), HasCode(Code::unavailable)) << "an offer is taken once";
}

TEST(Link, AnOfferThatIsPassedOverIsGivenBack) {
    Served served;
    auto link = served.greet().value();
    served.service.offers = true;
    served.server->push_head(head(3));  // hold 1
    served.server->push_head(head(5));  // hold 2
    served.server->push_head(head(4));  // hold 3, late
    ASSERT_OK(link->poll());
    EXPECT_TRUE(served.service.wait_until_released(1));
    EXPECT_TRUE(served.service.wait_until_released(3));
    EXPECT_EQ(link->hold(5, HoldKind::serve, 5s).value().hold.id, 2u);
    // A plain head as well.
    served.server->push_head(head(6));
    served.service.offers = false;
    served.server->push_head(head(7));
    ASSERT_OK(link->poll());
    EXPECT_TRUE(served.service.wait_until_released(4));
    EXPECT_EQ(served.service.standing(), 1u);
}

TEST(Link, AnOfferThatWasTakenAwayIsNotUsed) {
    Served served;
    auto link = served.greet().value();
    (void)link->hold(2, HoldKind::serve, 5s).value();
    served.service.offers = true;
    served.server->push_head(head(3));
    ASSERT_OK(link->poll());
    served.server->push_revoked(served.service.connection(), Hold{2, 3, 0, 8, HoldKind::serve});
    EXPECT_THAT(link->hold(3, HoldKind::serve, 5s), HasCode(Code::unavailable));
}

TEST(Link, AReceiverOfAnOlderMinorIsSentPlainHeads) {
    Served served;
    served.service.offers = true;
    auto stream = std::move(served.streams.second);
    auto hello = link::encode(link::Hello{current_process().value(), "rollout-3"});
    hello[7] = std::byte{0};  // the record's minor: type, kind, major before it
    ASSERT_OK(stream.send_frame(hello, 5s));
    ASSERT_OK(stream.receive_frame(link::kMaxReplyBytes, 5s));
    served.server->push_head(head(3));
    const auto push = stream.receive_frame(link::kMaxReplyBytes, 5s);
    ASSERT_OK(push);
    EXPECT_TRUE(std::holds_alternative<HeadRecord>(link::decode_push(*push).value()));
}

TEST(Link, ManyBoxesTakeSeveralRequests) {
    Served served;
    auto link = served.greet().value();
    std::vector<BoxRequest> boxes;
    for (std::uint32_t i = 0; i < 2 * kMaxBoxesPerRequest + 5; ++i) boxes.push_back({i, {{i, 0}, {1, 4}}});
    const auto digests = link->digests(1, boxes, 10s);
    ASSERT_OK(digests);
    ASSERT_EQ(digests->size(), boxes.size());
    for (const std::size_t i : {std::size_t{0}, std::size_t{kMaxBoxesPerRequest}, boxes.size() - 1})
        EXPECT_EQ((*digests)[i], digest_of(as_bytes_of(std::to_string(boxes[i].shard) + boxes[i].box.to_string())));
    EXPECT_EQ(served.service.digest_requests, 3);
    EXPECT_TRUE(link->digests(1, {}, 10s).value().empty());
}

// Pushes come between the answers: the newest head counts, an older one does not.
TEST(Link, HeadsAndRevocationsArePushed) {
    Served served;
    auto link = served.greet().value();
    const auto granted = link->hold(2, HoldKind::serve, 5s).value();
    served.server->push_head(head(5));
    served.server->push_head(head(4));
    served.server->push_revoked(served.service.connection(), granted.hold);
    served.server->push_revoked(served.service.connection() + 1, Hold{77, 2, 0, 2, HoldKind::copy});  // another link's
    ASSERT_OK(link->check(granted.hold.id, false, 5s));  // what was pushed before is taken in on the way
    EXPECT_EQ(link->head()->version.number, 5u);
    EXPECT_TRUE(link->revoked(granted.hold.id));
    EXPECT_FALSE(link->revoked(77));
}

TEST(Link, TheReceiversEndReleasesItsHolds) {
    Served served;
    {
        auto link = served.greet().value();
        ASSERT_OK(link->hold(2, HoldKind::serve, 5s));
        ASSERT_OK(link->hold(2, HoldKind::copy, 5s));
        EXPECT_EQ(served.service.standing(), 2u);
    }
    EXPECT_TRUE(served.service.wait_until_no_hold_stands());
    EXPECT_TRUE(served.service.wait_until_ended());
}

TEST(Link, ThePublishersEndIsPeerLost) {
    Served served;
    auto link = served.greet().value();
    served.streams.first.shut_down();
    EXPECT_THAT(link->hold(2, HoldKind::copy, 5s), HasCode(Code::peer_lost));
    EXPECT_THAT(link->poll(), HasCode(Code::peer_lost));
    EXPECT_THAT(link->blob(served.service.digest(), 5s), HasCode(Code::peer_lost));
    link->release(1);  // says nothing, and does not crash
}

// An answer that comes after its deadline must not be taken for that to the next question.
TEST(Link, AfterALateAnswerTheLinkIsOver) {
    auto [theirs, mine] = stream_pair();
    std::thread publisher([&theirs = theirs] {
        (void)theirs.receive_frame(1 << 20, 5s);
        (void)theirs.send_frame(link::reply({}, link::encode(link::Welcome{})), 5s);
    });
    auto link = Link::greet(std::move(mine), {}, "unix:pair", "r", 5s);
    publisher.join();
    ASSERT_OK(link);
    EXPECT_THAT((*link)->hold(2, HoldKind::copy, 20ms), HasError(Code::timed_out, "did not answer"));
    EXPECT_THAT((*link)->check(1, false, 1s), HasCode(Code::peer_lost));
}

TEST(Link, NonsenseEndsTheLink) {
    const Bytes frames[] = {
        {std::byte{99}},                                                    // no type
        {std::byte{3}, std::byte{1}},                                       // a hold cut short
        link::encode(link::BlobRequest{}),                                  // no nonsense, but see below
        {},                                                                 // nothing at all
        link::reply({}, {}),                                                // the publisher's own word
    };
    for (const auto& frame : frames) {
        Served served;
        auto& mine = served.streams.second;
        ASSERT_OK(mine.send_frame(link::encode(link::Hello{current_process().value(), "r"}), 5s));
        ASSERT_OK(mine.receive_frame(1 << 21, 5s));
        ASSERT_OK(mine.send_frame(frame, 5s));
        const auto answer = mine.receive_frame(1 << 21, 5s);
        ASSERT_OK(answer);
        const bool readable = link::decode_request(frame).has_value();
        EXPECT_THAT(link::decode_reply(*answer), HasCode(readable ? Code::not_found : Code::corrupt));
        EXPECT_TRUE(readable || served.service.wait_until_ended());
    }
}

TEST(Link, BeginsWithHelloAndOfAVersionThatIsKnown) {
    Served no_hello;
    ASSERT_OK(no_hello.streams.second.send_frame(link::encode(link::HoldRequest{2, HoldKind::copy}), 5s));
    EXPECT_THAT(link::decode_reply(no_hello.streams.second.receive_frame(1 << 21, 5s).value()), HasError(Code::corrupt, "begins with hello"));

    Served newer;
    auto hello = link::encode(link::Hello{current_process().value(), "r"});
    hello[5] = std::byte{2};
    ASSERT_OK(newer.streams.second.send_frame(hello, 5s));
    const auto refusal = newer.streams.second.receive_frame(1 << 21, 5s).value();
    EXPECT_THAT(link::decode_reply(refusal), HasError(Code::unsupported, "format 2.1, this wsync reads 1.x"));
}

TEST(Link, HelloIsSaidOnce) {
    Served served;
    auto& mine = served.streams.second;
    const auto hello = link::encode(link::Hello{current_process().value(), "r"});
    ASSERT_OK(mine.send_frame(hello, 5s));
    ASSERT_OK(mine.receive_frame(1 << 21, 5s));
    ASSERT_OK(mine.send_frame(hello, 5s));
    EXPECT_THAT(link::decode_reply(mine.receive_frame(1 << 21, 5s).value()), HasCode(Code::invalid_argument));
}

// A publisher of another make: what it answers is compared with what was asked for.
TEST(Link, APublishersNonsenseIsRefused) {
    const auto ask = [](const Bytes& answer, auto question) {
        auto [theirs, mine] = stream_pair();
        std::thread publisher([&theirs = theirs, &answer] {
            (void)theirs.receive_frame(1 << 20, 5s);
            (void)theirs.send_frame(link::reply({}, link::encode(link::Welcome{})), 5s);
            (void)theirs.receive_frame(1 << 20, 5s);
            (void)theirs.send_frame(answer, 5s);
        });
        auto link = Link::greet(std::move(mine), {}, "unix:pair", "r", 5s).value();
        auto error = question(*link);
        publisher.join();
        return error;
    };
    const auto blob = [](Link& link) { return link.blob(Digest{}, 5s); };
    const auto hold = [](Link& link) { return link.hold(2, HoldKind::copy, 5s); };
    const auto check = [](Link& link) { return link.check(1, false, 5s); };
    const Bytes some = numbered(3);
    EXPECT_THAT(ask(link::reply({}, link::encode(link::BlobChunk{3, some})), blob), HasError(Code::corrupt, "another digest"));
    EXPECT_THAT(ask(link::reply({}, link::encode(link::BlobChunk{5, {}})), blob), HasError(Code::corrupt, "ended before"));
    EXPECT_THAT(ask(link::reply({}, link::encode(link::BlobChunk{kMaxBlobBytes + 1, some})), blob), HasError(Code::corrupt, "limit"));
    EXPECT_THAT(ask(link::reply({}, some), hold), HasCode(Code::corrupt));
    EXPECT_THAT(ask(link::reply({}, some), check), HasError(Code::corrupt, "follow the answer"));
    EXPECT_THAT(ask(some, hold), HasError(Code::corrupt, "unknown type"));
    EXPECT_THAT(ask({}, hold), HasCode(Code::corrupt));
    EXPECT_THAT(ask(link::encode(link::Hello{}), check), HasError(Code::corrupt, "unknown type 1"));
}

// A receiver that does not read can't hold up who pushes: its link is dropped.
TEST(Link, AStalledReceiverIsDropped) {
    Served served;
    auto link = served.greet().value();
    const auto begin = Deadline::clock::now();
    for (int i = 0; i < 100'000; ++i) served.server->push_head(head(3));
    EXPECT_LT(Deadline::clock::now() - begin, 30s);  // it came back at all
    EXPECT_TRUE(served.service.wait_until_ended());
}

}  // namespace
}  // namespace wsync
