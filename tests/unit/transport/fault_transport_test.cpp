#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"
#include "transport/fault/fate.hpp"
#include "transport/fault/fault_transport.hpp"
#include "transport/shm/shm_transport.hpp"

#include "result_matchers.hpp"
#include "temporary_directory.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using fault::Fate;
using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

constexpr std::size_t kBytes = 100'000, kEach = 100, kCount = kBytes / kEach;
constexpr auto kPatience = 30s;

class FaultTest : public ::testing::Test {
protected:
    FaultTest() {
        SlabOptions slab;
        slab.bytes = kBytes;
        slab.huge_pages = false;
        slab_ = SharedSlab::make(slab).value();
        source_ = SharedSlab::region(slab_);
        for (std::size_t i = 0; i < kBytes; ++i) source_.address[i] = static_cast<std::byte>(i * 251 >> 3);
        HostBufferOptions buffer;
        buffer.bytes = kBytes;
        buffer.huge_pages = false;
        target_ = HostBuffer::region(HostBuffer::make(buffer).value());
        exporter_ = make_shm();
        exposure_ = exporter_->expose(source_, {}).value();
    }

    [[nodiscard]] std::unique_ptr<Transport> make_shm() const {
        ShmOptions options;
        options.socket_directory = directory_.path();
        return make_shm_transport(std::move(options)).value();
    }
    [[nodiscard]] std::unique_ptr<Channel> attach(FaultPolicy policy) {
        importer_ = make_fault_transport(make_shm(), std::move(policy));
        return importer_->attach(exposure_->descriptor(), {.deadline = kPatience}).value();
    }
    [[nodiscard]] std::vector<Transfer> reads(std::size_t count) const {
        std::vector<Transfer> transfers(count);
        for (std::size_t i = 0; i < count; ++i) {
            transfers[i] = {.remote_offset = i * kEach, .local = &target_, .local_offset = i * kEach, .row_bytes = kEach, .want_digest = true, .ticket = i + 1};
        }
        return transfers;
    }
    // In the order in which they came.
    static std::vector<Completion> wait_for(Channel& channel, std::size_t count) {
        std::vector<Completion> done;
        std::array<Completion, 7> some;
        while (done.size() < count) {
            const auto n = channel.wait(some, kPatience);
            EXPECT_OK(n);
            if (!n || *n == 0) break;
            std::move(some.begin(), some.begin() + static_cast<std::ptrdiff_t>(*n), std::back_inserter(done));
        }
        EXPECT_EQ(count, done.size());
        return done;
    }
    [[nodiscard]] std::span<const std::byte> source(std::uint64_t ticket) const { return {source_.address + (ticket - 1) * kEach, kEach}; }
    [[nodiscard]] std::span<const std::byte> target(std::uint64_t ticket) const { return {target_.address + (ticket - 1) * kEach, kEach}; }
    [[nodiscard]] std::size_t differences(std::uint64_t ticket) const {
        std::size_t count = 0;
        for (std::size_t i = 0; i < kEach; ++i) count += source(ticket)[i] != target(ticket)[i] ? 1 : 0;
        return count;
    }

    testing::TemporaryDirectory directory_;
    std::shared_ptr<SharedSlab> slab_;
    Region source_, target_;
    std::unique_ptr<Transport> exporter_, importer_;
    std::unique_ptr<Exposure> exposure_;
};

TEST_F(FaultTest, ACorruptedByteShowsInTheDigest) {
    FaultPolicy policy;
    policy.corrupt.at = {3, 5};
    auto channel = attach(policy);
    ASSERT_EQ(10U, channel->submit(reads(10)).value());
    for (const auto& completion : wait_for(*channel, 10)) {
        ASSERT_OK(completion.status);
        const bool hit = completion.ticket == 3 || completion.ticket == 5;
        EXPECT_EQ(hit ? 1U : 0U, differences(completion.ticket));
        // The digest is of the bytes that arrived, as on a wire: comparing it with the source's finds the fault.
        EXPECT_EQ(digest_of(target(completion.ticket)), completion.digest.value());
        EXPECT_EQ(hit, digest_of(source(completion.ticket)) != *completion.digest);
    }
}

TEST_F(FaultTest, CorruptsRowsWithinTheRows) {
    FaultPolicy policy;
    policy.corrupt.probability = 1;
    auto channel = attach(policy);
    for (int i = 0; i < 50; ++i) {
        std::fill_n(target_.address, 1000, std::byte{0});
        const Transfer rows{.remote_stride = 50, .local = &target_, .local_offset = 1, .local_stride = 20, .row_bytes = 3, .rows = 5, .want_digest = true};
        ASSERT_EQ(1U, channel->submit(std::span(&rows, 1)).value());
        const auto done = wait_for(*channel, 1);
        std::size_t flipped = 0;
        std::vector<std::byte> packed;
        for (std::size_t at = 0; at < 1000; ++at) {
            const bool inside = at >= 1 && at < 1 + 5 * 20 && (at - 1) % 20 < 3;
            const std::byte expected = inside ? source_.address[(at - 1) / 20 * 50 + (at - 1) % 20] : std::byte{0};
            if (inside) packed.push_back(target_.address[at]);
            if (target_.address[at] != expected) {
                EXPECT_TRUE(inside) << at;
                ++flipped;
            }
        }
        EXPECT_EQ(1U, flipped);
        EXPECT_EQ(digest_of(packed), done.front().digest.value());
    }
    // Nothing to corrupt.
    const Transfer empty{.local = &target_};
    ASSERT_EQ(1U, channel->submit(std::span(&empty, 1)).value());
    EXPECT_OK(wait_for(*channel, 1).front().status);
}

TEST_F(FaultTest, AFailureIsAnIoErrorAndMovesNothing) {
    FaultPolicy policy;
    policy.fail.at = {2};
    auto channel = attach(policy);
    ASSERT_EQ(3U, channel->submit(reads(3)).value());
    for (const auto& completion : wait_for(*channel, 3)) {
        if (completion.ticket == 2) {
            EXPECT_THAT(completion.status, HasError(Code::io_error, "injected"));
        } else {
            EXPECT_OK(completion.status);
        }
    }
    EXPECT_TRUE(std::all_of(target(2).begin(), target(2).end(), [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST_F(FaultTest, WhatIsDroppedTimesOutAndIsCancelledByClose) {
    FaultPolicy policy;
    policy.drop.at = {1};
    auto channel = attach(policy);
    ASSERT_EQ(3U, channel->submit(reads(3)).value());
    std::set<std::uint64_t> seen;
    for (const auto& completion : wait_for(*channel, 2)) seen.insert(completion.ticket);
    EXPECT_EQ((std::set<std::uint64_t>{2, 3}), seen);
    std::array<Completion, 4> some;
    EXPECT_THAT(channel->wait(some, 20ms), HasCode(Code::timed_out));
    EXPECT_EQ(0U, channel->wait(some, Deadline::now()).value());
    channel->close();
    ASSERT_EQ(1U, channel->wait(some, kPatience).value());
    EXPECT_EQ(1U, some[0].ticket);
    EXPECT_THAT(some[0].status, HasCode(Code::cancelled));
    EXPECT_EQ(0U, channel->wait(some, Deadline::never()).value());
}

TEST_F(FaultTest, ADelayedOneComesLater) {
    FaultPolicy policy;
    policy.delay.at = {1};
    policy.delay_by = 30ms;
    auto channel = attach(policy);
    const auto begin = Deadline::clock::now();
    ASSERT_EQ(3U, channel->submit(reads(3)).value());
    const auto done = wait_for(*channel, 3);
    EXPECT_EQ(1U, done.back().ticket);
    EXPECT_GE(Deadline::clock::now() - begin, 30ms);
    EXPECT_EQ(0U, differences(1));
}

TEST_F(FaultTest, AReorderedOneIsOvertaken) {
    FaultPolicy policy;
    policy.reorder.at = {1, 2};
    auto channel = attach(policy);
    ASSERT_EQ(4U, channel->submit(reads(4)).value());
    const auto done = wait_for(*channel, 4);
    EXPECT_EQ(3U, done.front().ticket);
    // With nothing behind it, it comes all the same.
    policy.reorder.at = {1};
    channel = attach(policy);
    ASSERT_EQ(1U, channel->submit(reads(1)).value());
    EXPECT_EQ(1U, wait_for(*channel, 1).front().ticket);
}

TEST_F(FaultTest, EveryTicketCompletesOnceUnderEveryFaultAtOnce) {
    FaultPolicy policy;
    policy.seed = 99;
    policy.fail.probability = policy.corrupt.probability = policy.reorder.probability = policy.delay.probability = policy.drop.probability = 0.1;
    policy.delay_by = 1ms;
    auto channel = attach(policy);
    const auto transfers = reads(kCount);
    std::size_t accepted = 0;
    std::map<std::uint64_t, Completion> done;
    std::array<Completion, 16> some;
    const auto take = [&](std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) EXPECT_TRUE(done.emplace(some[i].ticket, some[i]).second) << some[i].ticket;
    };
    while (accepted < kCount) {
        accepted += channel->submit(std::span(transfers).subspan(accepted)).value();
        take(channel->wait(some, kPatience).value());
    }
    std::set<std::uint64_t> dropped;
    for (std::uint64_t n = 1; n <= kCount; ++n) {
        if (fault::fate_of(policy, n) == Fate::drop) dropped.insert(n);
    }
    EXPECT_GT(dropped.size(), kCount / 20);
    while (done.size() < kCount - dropped.size()) take(channel->wait(some, kPatience).value());
    channel->close();
    while (done.size() < kCount) {
        const auto n = channel->wait(some, kPatience).value();
        ASSERT_GT(n, 0U);
        take(n);
    }
    for (const auto& [ticket, completion] : done) {
        switch (fault::fate_of(policy, ticket)) {
            case Fate::drop:
                EXPECT_THAT(completion.status, HasCode(Code::cancelled));
                break;
            case Fate::fail:
                EXPECT_THAT(completion.status, HasCode(Code::io_error));
                break;
            case Fate::corrupt:
                EXPECT_EQ(1U, differences(ticket));
                break;
            default:
                EXPECT_OK(completion.status);
                EXPECT_EQ(0U, differences(ticket));
        }
    }
}

TEST_F(FaultTest, TheSeedAloneDecides) {
    FaultPolicy policy;
    policy.corrupt.probability = 0.3;
    const auto fates = [&](std::uint64_t seed) {
        policy.seed = seed;
        std::vector<Fate> all;
        for (std::uint64_t n = 1; n <= 1000; ++n) all.push_back(fault::fate_of(policy, n));
        return all;
    };
    EXPECT_EQ(fates(7), fates(7));
    EXPECT_NE(fates(7), fates(8));
    const auto sevens = fates(7);
    const auto hits = std::count(sevens.begin(), sevens.end(), Fate::corrupt);
    EXPECT_GT(hits, 200);
    EXPECT_LT(hits, 400);
    // Two runs, byte for byte.
    const auto run = [&] {
        policy.seed = 5;
        auto channel = attach(policy);
        EXPECT_EQ(100U, channel->submit(reads(100)).value());
        wait_for(*channel, 100);
        return std::vector<std::byte>(target_.address, target_.address + 100 * kEach);
    };
    const auto first = run();
    EXPECT_EQ(first, run());
}

TEST_F(FaultTest, NumbersGoOverAllChannelsAndAFullQueueCostsNone) {
    FaultPolicy policy;
    policy.fail.at = {1500, 1502};
    auto channel = attach(policy);
    auto other = importer_->attach(exposure_->descriptor(), {.deadline = kPatience}).value();
    const Transfer one{.local = &target_, .row_bytes = 1};
    const std::vector<Transfer> many(2000, one);
    const auto accepted = channel->submit(many).value();
    ASSERT_LT(accepted, 1500U);
    ASSERT_EQ(0U, channel->submit(many).value());
    ASSERT_EQ(0U, channel->submit(many).value());
    std::size_t failed = 0;
    for (const auto& completion : wait_for(*channel, accepted)) failed += completion.status ? 0 : 1;
    EXPECT_EQ(0U, failed);
    // One number waits with the first channel; the other one takes those from accepted + 2 on.
    const std::size_t to_1501 = 1501 - accepted - 1;
    ASSERT_EQ(to_1501, other->submit(std::span(many).first(to_1501)).value());
    for (const auto& completion : wait_for(*other, to_1501)) failed += completion.status ? 0 : 1;
    EXPECT_EQ(1U, failed);
    ASSERT_EQ(2U, channel->submit(std::span(many).first(2)).value());
    for (const auto& completion : wait_for(*channel, 2)) failed += completion.status ? 0 : 1;
    EXPECT_EQ(2U, failed);
}

TEST_F(FaultTest, KillsItsProcessAtTheNthTransfer) {
    const auto run = [&](std::size_t count) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            FaultPolicy policy;
            policy.kill_at = 5;
            auto channel = attach(policy);
            (void)channel->submit(reads(count));
            wait_for(*channel, count);
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(pid, &status, 0);
        return status;
    };
    const int survived = run(4);
    EXPECT_TRUE(WIFEXITED(survived));
    const int killed = run(5);
    EXPECT_TRUE(WIFSIGNALED(killed) && WTERMSIG(killed) == SIGKILL);
}

TEST_F(FaultTest, WithoutFaultsItIsTransparent) {
    auto channel = attach({});
    EXPECT_EQ("shm", importer_->capabilities().name);
    EXPECT_OK(channel->map());
    EXPECT_EQ(0U, channel->generation().value());
    ASSERT_EQ(kCount, channel->submit(reads(kCount)).value());
    for (const auto& completion : wait_for(*channel, kCount)) EXPECT_EQ(digest_of(source(completion.ticket)), completion.digest.value());
    EXPECT_THAT(importer_->attach({"pigeon", {}}, {.deadline = 1s}), HasCode(Code::invalid_argument));
}

}  // namespace
}  // namespace wsync
