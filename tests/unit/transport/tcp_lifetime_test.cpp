// Exposures, channels and peers that end, are stopped, or are not the ones that were meant.
#include "tcp_fixture.hpp"

namespace wsync {
namespace {

TEST_F(TcpTest, CloseRefusesNewWork) {
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(1 << 20);
    const Transfer transfer{.local = &target, .row_bytes = 100, .ticket = 1};
    ASSERT_OK(channel->submit({&transfer, 1}));
    EXPECT_OK(wait_all(*channel, 1)[1].status);
    EXPECT_OK(exposure->close(kSoon));
    ASSERT_OK(channel->submit({&transfer, 1}));
    EXPECT_THAT(wait_all(*channel, 1)[1].status, HasCode(Code::unavailable));
    EXPECT_THAT(receiver_->attach(exposure->descriptor(), {}), HasCode(Code::not_found));
    EXPECT_OK(exposure->close(kSoon));
}

TEST_F(TcpTest, CloseWaitsForBytesThatArePulledStill) {
    auto source = slab_region(64 << 20, 1);
    const std::weak_ptr<const void> alive = source.owner;
    const auto expected = digest_of(*source.host_bytes());
    const auto exposure = expose(source);
    source = Region{};
    const auto channel = attach(*exposure);
    const auto target = host_region(64 << 20);
    const Transfer transfer{.local = &target, .row_bytes = 64 << 20, .want_digest = true, .ticket = 1};
    ASSERT_OK(channel->submit({&transfer, 1}));
    wait_for_first_byte(*channel, target);
    EXPECT_THAT(exposure->close(50ms), HasError(Code::timed_out, "127.0.0.1"));
    EXPECT_FALSE(alive.expired()) << "memory under way was let go";
    EXPECT_EQ(wait_all(*channel, 1)[1].digest, expected);
    EXPECT_OK(exposure->close(kSoon));
    EXPECT_TRUE(alive.expired()) << "closed, and still held";
}

TEST_F(TcpTest, AnExposureThatIsDroppedUnderAPullBreaksIt) {
    auto source = slab_region(64 << 20, 1);
    const std::weak_ptr<const void> alive = source.owner;
    auto exposure = expose(source);
    source = Region{};
    const auto channel = attach(*exposure);
    const auto target = host_region(64 << 20);
    const Transfer transfer{.local = &target, .row_bytes = 64 << 20, .ticket = 1};
    ASSERT_OK(channel->submit({&transfer, 1}));
    wait_for_first_byte(*channel, target);
    exposure.reset();
    EXPECT_TRUE(alive.expired());
    EXPECT_THAT(wait_all(*channel, 1)[1].status, HasCode(Code::peer_lost));
}

TEST_F(TcpTest, AClosedChannelCancelsOnceAndTakesNoMore) {
    const auto source = slab_region(32 << 20, 1);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(32 << 20);
    std::vector<Transfer> transfers;
    for (std::uint64_t i = 0; i < 32; ++i) transfers.push_back({.remote_offset = i << 20, .local = &target, .local_offset = i << 20, .row_bytes = 1 << 20, .ticket = i});
    ASSERT_OK(channel->submit(transfers));
    channel->close();
    channel->close();
    auto done = wait_all(*channel, 32);
    for (auto& [ticket, completion] : done) EXPECT_THAT(completion.status, HasCode(Code::cancelled));
    EXPECT_THAT(channel->submit(transfers), HasCode(Code::cancelled));
    std::array<Completion, 1> one;
    EXPECT_EQ(channel->wait(one, kSoon).value(), 0U);
    EXPECT_OK(exposure->close(kSoon)) << "a peer that left has nothing under way";
}

TEST_F(TcpTest, TheExportersEndIsTheTransfersEnd) {
    const auto source = slab_region(64 << 20, 1);
    auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(64 << 20);
    const std::vector<Transfer> transfers{{.local = &target, .row_bytes = 64 << 20, .ticket = 0}, {.local = &target, .row_bytes = 1, .ticket = 1}};
    ASSERT_OK(channel->submit(transfers));
    wait_for_first_byte(*channel, target);
    exporter_.reset();
    for (auto& [ticket, completion] : wait_all(*channel, 2)) EXPECT_THAT(completion.status, HasCode(Code::peer_lost));
    EXPECT_THAT(channel->submit(transfers), HasCode(Code::peer_lost));
    EXPECT_THAT(receiver_->attach(exposure->descriptor(), {.deadline = 5s}), HasCode(Code::unavailable));
}

TEST_F(TcpTest, AWrongSecretIsRefused) {
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    auto other = options();
    other.secret = secret_of(2);
    const auto stranger = make_tcp_transport(other).value();
    EXPECT_THAT(stranger->attach(exposure->descriptor(), {}), HasError(Code::invalid_argument, "secret"));
}

TEST_F(TcpTest, ADescriptorOfAnotherExposureIsRefused) {
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    auto descriptor = exposure->descriptor();
    EXPECT_EQ(descriptor.transport, "tcp");
    for (std::size_t n = 0; n < descriptor.bytes.size(); n += 3) {
        auto part = descriptor;
        part.bytes.resize(n);
        EXPECT_FALSE(receiver_->attach(part, {.deadline = 2s})) << n;
    }
    const auto other = make_tcp_transport(options()).value();
    const auto theirs = other->expose(source, {}).value();
    descriptor.transport = "shm";
    EXPECT_THAT(receiver_->attach(descriptor, {}), HasCode(Code::invalid_argument));
}

TEST_F(TcpTest, AnAttachedFileThatShrinksIsAnErrorAndTheStreamGoesOn) {
    testing::TemporaryDirectory directory;
    const auto path = directory / "weights";
    const auto bytes = host_region(4 << 20, 2);
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ASSERT_EQ(::write(fd, bytes.address, bytes.bytes), 4 << 20);
    const auto exposure = expose(open_file_region(path, false).value());
    ASSERT_EQ(::ftruncate(fd, 1 << 20), 0);
    ::close(fd);
    const auto channel = attach(*exposure);
    const auto target = host_region(4 << 20);
    const std::vector<Transfer> transfers{{.local = &target, .row_bytes = 4 << 20, .want_digest = true, .ticket = 0}, {.local = &target, .row_bytes = 1 << 20, .want_digest = true, .ticket = 1}};
    ASSERT_OK(channel->submit(transfers));
    auto done = wait_all(*channel, 2);
    EXPECT_THAT(done[0].status, HasError(Code::io_error, "file"));
    ASSERT_OK(done[1].status);
    EXPECT_EQ(done[1].digest, digest_of({bytes.address, 1 << 20}));
}

TEST_F(TcpTest, ManyChannelsFromManyThreads) {
    const std::uint64_t bytes = 8 << 20;
    const auto source = slab_region(bytes, 1);
    const auto exposure = expose(source);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int t = 0; t < 6; ++t) {
        threads.emplace_back([&] {
            const auto channel = attach(*exposure);
            const auto target = host_region(bytes);
            for (int round = 0; round < 5; ++round) {
                std::vector<Transfer> transfers;
                for (std::uint64_t i = 0; i < 64; ++i) {
                    transfers.push_back({.remote_offset = i << 17, .local = &target, .local_offset = i << 17, .row_bytes = 1 << 17, .want_digest = true, .ticket = i});
                }
                if (channel->submit(transfers).value() != 64) return;
                for (auto& [ticket, completion] : wait_all(*channel, 64)) {
                    if (!completion.status || completion.digest != digest_of({source.address + (ticket << 17), 1 << 17})) return;
                }
            }
            ++good;
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(good, 6);
    EXPECT_OK(exposure->close(kSoon));
}

}  // namespace
}  // namespace wsync
