// A link whose receiver takes nothing: whoever pushes goes on.
#include "result_matchers.hpp"
#include "scratch_folder.hpp"
#include "sync/link.hpp"
#include "sync/link_frames.hpp"

#include <atomic>
#include <poll.h>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;

class OneLargeBlob final : public LinkService {
public:
    Result<std::shared_ptr<const Bytes>> blob(const Digest&) override {
        return std::make_shared<const Bytes>(16 << 20);
    }
    Result<GrantedHold> grant(std::uint64_t, std::uint64_t, HoldKind, const std::string&) override { return Error{Code::unavailable, "none", {}}; }
    std::optional<GrantedHold> offer(std::uint64_t, std::uint64_t) override { return {}; }
    void claim(std::uint64_t) override {}
    void release(std::uint64_t) override {}
    Status check(std::uint64_t) override { return {}; }
    Result<std::vector<Digest>> digests(std::uint64_t, std::span<const BoxRequest>) override { return std::vector<Digest>{}; }
    void connection_ended(std::uint64_t) override { ++ended; }
    std::optional<HeadRecord> head() override { return std::nullopt; }

    std::atomic<int> ended{0};
};

HeadRecord head(std::uint64_t number) { return HeadRecord{Version{"policy", "run", 1, number, number, number - 1, {}}}; }

class LinkPush : public ::testing::Test {
protected:
    testing::TemporaryDirectory scratch_;
    const Secret secret_ = random_secret().value();
    OneLargeBlob service_;
    std::unique_ptr<LinkServer> server_ = LinkServer::start({{"unix:" + scratch_ / "l"}}, secret_, service_).value();

    Stream connect() {
        auto stream = connect_stream({server_->endpoints().front()}, {"link", secret_}, 5s).value();
        EXPECT_OK(stream.send_frame(link::encode(link::Hello{current_process().value(), "slow"}), 5s));
        EXPECT_OK(stream.receive_frame(link::kMaxReplyBytes, 5s));
        return stream;
    }
};

TEST_F(LinkPush, DoesNotWaitForAReplyThatIsNotTaken) {
    auto stream = connect();
    // Its answer, a megabyte, fits into no socket's buffer: the thread that serves the link waits for room.
    ASSERT_OK(stream.send_frame(link::encode(link::BlobRequest{Digest{}, 0}), 5s));
    pollfd begun{stream.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&begun, 1, 20'000), 1);
    const auto begin = Deadline::clock::now();
    for (std::uint64_t number = 1; number <= 10; ++number) server_->push_head(head(number));
    EXPECT_LT(Deadline::clock::now() - begin, 10s);  // the reply waits for 30
    // Once the receiver reads again, the reply comes whole, and the heads behind it.
    auto reply = stream.receive_frame(link::kMaxReplyBytes, 5s);
    ASSERT_OK(reply);
    EXPECT_TRUE(link::is_reply(*reply));
    for (std::uint64_t number = 1; number <= 10; ++number) {
        auto frame = stream.receive_frame(link::kMaxReplyBytes, 5s);
        ASSERT_OK(frame);
        auto push = link::decode_push(*frame);
        ASSERT_OK(push);
        EXPECT_EQ(std::get<HeadRecord>(*push).version.number, number);
    }
}

TEST_F(LinkPush, EndsALinkThatTakesNothingForLong) {
    auto stream = connect();
    for (std::uint64_t number = 1; number <= 20'000 && service_.ended == 0; ++number) server_->push_head(head(number));
    for (const Deadline patience(20s); service_.ended == 0 && !patience.expired();) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(service_.ended, 1);
}

}  // namespace
}  // namespace wsync
