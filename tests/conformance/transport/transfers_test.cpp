// What every transport does with transfers, whichever way its peers run.
#include "conformance/transport/fixture.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <set>

namespace wsync::testing {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

class TransportConformance : public TransportSuite {};

TEST_P(TransportConformance, ReadsTheWholeRegion) {
    start_exporter();
    auto channel = attach();
    const Region target = target_of(kSourceBytes);
    const auto done = move_one(*channel, {.local = &target, .row_bytes = kSourceBytes, .want_digest = true, .ticket = 42});
    EXPECT_OK(done.status);
    EXPECT_EQ(42U, done.ticket);
    EXPECT_TRUE(holds_content(target, 0, kSourceBytes));
    ASSERT_TRUE(done.digest.has_value());
    EXPECT_EQ(digest_of(content_), *done.digest);
}

TEST_P(TransportConformance, CompletesEveryTicketExactlyOnce) {
    start_exporter();
    auto channel = attach();
    std::mt19937 random(20);
    const Region target = target_of(4 * kSourceBytes);
    std::vector<Transfer> transfers;
    std::uint64_t local = 0;
    for (std::uint64_t i = 0; i < 1500; ++i) {
        const std::uint64_t offset = random() % kSourceBytes;
        const std::uint64_t bytes = std::min<std::uint64_t>(random() % 5000, kSourceBytes - offset);
        if (local + bytes > target.bytes) break;
        transfers.push_back({.remote_offset = offset, .local = &target, .local_offset = local, .row_bytes = bytes, .want_digest = i % 3 == 0, .ticket = kMax - i});
        local += bytes;
    }
    const auto done = move(*channel, transfers);
    ASSERT_EQ(transfers.size(), done.size());
    for (const auto& transfer : transfers) {
        const auto& completion = done.at(transfer.ticket);
        ASSERT_OK(completion.status);
        const std::span wanted = std::span<const std::byte>(content_).subspan(transfer.remote_offset, transfer.row_bytes);
        ASSERT_TRUE(std::equal(wanted.begin(), wanted.end(), target.address + transfer.local_offset));
        ASSERT_EQ(transfer.want_digest, completion.digest.has_value());
        if (completion.digest) {
            ASSERT_EQ(digest_of(wanted), *completion.digest);
        }
    }
}

TEST_P(TransportConformance, EqualTicketsCompleteAsOftenAsTheyWereAccepted) {
    start_exporter();
    auto channel = attach();
    const Region target = target_of(1000);
    std::vector<Transfer> transfers = reads(target, 10, 100);
    for (auto& transfer : transfers) transfer.ticket = 5;
    ASSERT_EQ(10U, channel->submit(transfers).value());
    std::size_t completed = 0;
    std::array<Completion, 3> some;
    while (completed < 10) {
        const auto n = channel->wait(some, kPatience);
        ASSERT_OK(n);
        ASSERT_GT(*n, 0U);
        for (std::size_t i = 0; i < *n; ++i) EXPECT_EQ(5U, some[i].ticket);
        completed += *n;
    }
    EXPECT_EQ(10U, completed);
    EXPECT_TRUE(holds_content(target, 0, 1000));
}

TEST_P(TransportConformance, MovesZeroOddAndUnalignedSegments) {
    start_exporter();
    auto channel = attach();
    const Region target = target_of(kSourceBytes);
    std::vector<Transfer> transfers;
    for (const std::uint64_t offset : {0UL, 1UL, 7UL, 63UL, 511UL, 4095UL, 4096UL, 4097UL, 65'537UL, kSourceBytes - 1, kSourceBytes}) {
        for (const std::uint64_t bytes : {0UL, 1UL, 2UL, 13UL, 511UL, 512UL, 4095UL, 4096UL, 4097UL, 131'071UL}) {
            if (offset + bytes > kSourceBytes) continue;
            for (const std::uint64_t shift : {0UL, 1UL, 3UL}) {
                if (shift + bytes > target.bytes) continue;
                transfers.push_back({.remote_offset = offset, .local = &target, .local_offset = shift, .row_bytes = bytes, .want_digest = true, .ticket = transfers.size()});
            }
        }
    }
    // One after the other: they share the target.
    for (const auto& transfer : transfers) {
        std::memset(target.address, 0xee, std::min<std::size_t>(target.bytes, transfer.local_offset + transfer.row_bytes + 64));
        const auto done = move_one(*channel, transfer);
        ASSERT_OK(done.status);
        const std::span wanted = std::span<const std::byte>(content_).subspan(transfer.remote_offset, transfer.row_bytes);
        ASSERT_TRUE(std::equal(wanted.begin(), wanted.end(), target.address + transfer.local_offset)) << transfer.remote_offset << '+' << transfer.row_bytes;
        ASSERT_TRUE(done.digest.has_value());
        ASSERT_EQ(digest_of(wanted), *done.digest);
        // Neighbours are left alone.
        if (transfer.local_offset > 0) {
            ASSERT_EQ(std::byte{0xee}, target.address[transfer.local_offset - 1]);
        }
        ASSERT_EQ(std::byte{0xee}, target.address[transfer.local_offset + transfer.row_bytes]);
    }
}

TEST_P(TransportConformance, MovesRows) {
    start_exporter();
    auto channel = attach();
    struct Shape {
        std::uint64_t rows, row_bytes, remote_stride, local_stride;
    };
    std::uint64_t ticket = 0;
    for (const Shape shape : {Shape{97, 33, 131, 57}, Shape{1, 1000, 0, 0}, Shape{64, 4096, 8192, 4096}, Shape{5000, 2, 64, 3}, Shape{10, 1, 1, 1},
                              Shape{3, 100'000, 300'001, 100'000}, Shape{0, 10, 10, 10}, Shape{10, 0, 10, 10}, Shape{300, 512, 512, 1024}}) {
        const std::uint64_t remote_offset = 11, local_offset = 5;
        const Region target = target_of(local_offset + shape.rows * std::max(shape.local_stride, shape.row_bytes) + 64);
        std::memset(target.address, 0xee, target.bytes);
        const auto done = move_one(*channel, {.remote_offset = remote_offset,
                                              .remote_stride = shape.remote_stride,
                                              .local = &target,
                                              .local_offset = local_offset,
                                              .local_stride = shape.local_stride,
                                              .row_bytes = shape.row_bytes,
                                              .rows = shape.rows,
                                              .want_digest = true,
                                              .ticket = ++ticket});
        ASSERT_OK(done.status);
        std::vector<std::byte> expected(target.bytes, std::byte{0xee}), packed;
        for (std::uint64_t r = 0; r < shape.rows; ++r) {
            const auto* row = content_.data() + remote_offset + r * shape.remote_stride;
            std::copy_n(row, shape.row_bytes, expected.data() + local_offset + r * shape.local_stride);
            packed.insert(packed.end(), row, row + shape.row_bytes);
        }
        ASSERT_TRUE(std::equal(expected.begin(), expected.end(), target.address)) << shape.rows << " rows of " << shape.row_bytes;
        ASSERT_TRUE(done.digest.has_value());
        ASSERT_EQ(digest_of(packed), *done.digest) << shape.rows << " rows of " << shape.row_bytes;
    }
}

TEST_P(TransportConformance, MovesManySmallOnes) {
    constexpr std::size_t kCount = 20'000, kEach = 49;
    start_exporter();
    auto channel = attach();
    const Region target = target_of(kCount * kEach);
    auto transfers = reads(target, kCount, kEach);
    for (auto& transfer : transfers) transfer.want_digest = true;
    const auto done = move(*channel, transfers, kPatience, 256);
    ASSERT_EQ(kCount, done.size());
    for (const auto& [ticket, completion] : done) {
        ASSERT_OK(completion.status);
        ASSERT_EQ(digest_of(std::span<const std::byte>(content_).subspan(ticket * kEach, kEach)), completion.digest.value());
    }
    EXPECT_TRUE(holds_content(target, 0, kCount * kEach));
}

TEST_P(TransportConformance, AFullQueueIsAnAnswer) {
    constexpr std::size_t kOffered = 1U << 18;
    start_exporter();
    auto channel = attach();
    const Region target = target_of(kOffered + 512);
    // A byte of its own for each: transfers under way may be moved by several threads.
    std::vector<Transfer> batch(256, Transfer{.local = &target, .row_bytes = 1});
    const auto place_batch = [&](std::size_t from) {
        for (auto& transfer : batch) transfer.local_offset = from++;
    };
    std::size_t accepted = 0, completed = 0;
    bool full = false;
    while (!full && accepted < kOffered) {
        place_batch(accepted);
        const auto taken = channel->submit(batch);
        ASSERT_OK(taken);
        accepted += *taken;
        full = *taken < batch.size();
    }
    EXPECT_TRUE(full) << "a queue without a bound: " << accepted << " accepted";
    std::vector<Completion> some(512);
    const auto n = channel->wait(some, kPatience);
    ASSERT_OK(n);
    ASSERT_GT(*n, 0U);
    completed += *n;
    // Room again, at the latest when all have completed.
    std::size_t more = 0;
    place_batch(accepted);
    while (more == 0 && completed <= accepted) {
        const auto taken = channel->submit(batch);
        ASSERT_OK(taken);
        more = *taken;
        if (more > 0) break;
        const auto again = channel->wait(some, kPatience);
        ASSERT_OK(again);
        completed += *again;
    }
    EXPECT_GT(more, 0U);
    accepted += more;
    while (completed < accepted) {
        const auto again = channel->wait(some, kPatience);
        ASSERT_OK(again);
        ASSERT_GT(*again, 0U);
        for (std::size_t i = 0; i < *again; ++i) ASSERT_OK(some[i].status);
        completed += *again;
    }
    EXPECT_EQ(accepted, completed);
    EXPECT_EQ(0U, channel->wait(some, Deadline::now()).value());
}

TEST_P(TransportConformance, WaitKeepsItsWord) {
    start_exporter();
    auto channel = attach();
    std::array<Completion, 2> some;
    EXPECT_EQ(0U, channel->wait(some, Deadline::now()).value());
    EXPECT_EQ(0U, channel->wait(some, Deadline::never()).value()) << "nothing is under way";
    const Region target = target_of(100);
    ASSERT_EQ(1U, channel->submit(std::array{Transfer{.local = &target, .row_bytes = 100, .ticket = 1}}).value());
    EXPECT_EQ(0U, channel->wait({}, Deadline::now()).value());
    // Polling alone brings it in.
    std::size_t n = 0;
    const Deadline patience = kPatience;
    while (n == 0 && !patience.expired()) {
        const auto polled = channel->wait(some, Deadline::now());
        ASSERT_OK(polled);
        n = *polled;
    }
    ASSERT_EQ(1U, n);
    EXPECT_OK(some[0].status);
    EXPECT_TRUE(holds_content(target, 0, 100));
    EXPECT_EQ(0U, channel->submit({}).value());
}

TEST_P(TransportConformance, RefusesWhatLiesOutside) {
    start_exporter();
    auto channel = attach();
    const Region target = target_of(4096);
    std::memset(target.address, 0xee, target.bytes);
    struct Outside {
        std::uint64_t offset, stride, row_bytes, rows;
    };
    const auto outside_of = [](std::uint64_t size) {
        return std::vector<Outside>{{size, 0, 1, 1},
                                    {size - 1, 0, 2, 1},
                                    {size + 1, 0, 0, 1},
                                    {kMax, 0, 1, 1},
                                    {kMax - 1, 0, 2, 1},
                                    {kMax, 0, kMax, 1},
                                    {0, 0, kMax, 1},
                                    {1, 0, kMax, 1},
                                    {0, size - 1, 2, 2},
                                    {0, 1, 1, kMax},
                                    {0, 8, 8, (1ULL << 61) + 1},
                                    {0, 1ULL << 63, 8, 3},
                                    {0, kMax, 1, 2},
                                    {8, kMax - 4, 1, 2},
                                    {8, 1ULL << 32, 1ULL << 32, 1ULL << 32}};
    };
    std::vector<Transfer> transfers;
    for (const auto& bad : outside_of(kSourceBytes)) {
        transfers.push_back({.remote_offset = bad.offset, .remote_stride = bad.stride, .local = &target, .local_stride = bad.row_bytes, .row_bytes = bad.row_bytes, .rows = bad.rows});
    }
    for (const auto& bad : outside_of(target.bytes)) {
        transfers.push_back({.remote_stride = bad.row_bytes, .local = &target, .local_offset = bad.offset, .local_stride = bad.stride, .row_bytes = bad.row_bytes, .rows = bad.rows});
    }
    for (std::size_t i = 0; i < transfers.size(); ++i) {
        transfers[i].ticket = i;
        transfers[i].want_digest = i % 2 == 0;
    }
    for (const auto& [ticket, completion] : move(*channel, transfers)) {
        EXPECT_THAT(completion.status, HasCode(Code::invalid_argument)) << "transfer " << ticket;
    }
    EXPECT_TRUE(std::all_of(target.address, target.address + target.bytes, [](std::byte byte) { return byte == std::byte{0xee}; }));
    // No local region, and one that must not be written.
    EXPECT_THAT(move_one(*channel, {.row_bytes = 1}).status, HasCode(Code::invalid_argument));
    Region read_only = target;
    read_only.writable = false;
    EXPECT_THAT(move_one(*channel, {.local = &read_only, .row_bytes = 1}).status, HasCode(Code::invalid_argument));
    // The channel is as good as before.
    EXPECT_OK(move_one(*channel, {.remote_offset = kSourceBytes, .local = &target, .local_offset = 4096}).status);
    EXPECT_OK(move_one(*channel, {.local = &target, .row_bytes = 4096}).status);
    EXPECT_TRUE(holds_content(target, 0, 4096));
}

TEST_P(TransportConformance, ComparesGenerations) {
    start_exporter({.generation = 2});
    auto channel = attach();
    const Region target = target_of(1000);
    const auto read = [&](std::uint64_t generation) {
        return move_one(*channel, {.local = &target, .row_bytes = 1000, .generation = generation, .want_digest = true}).status;
    };
    EXPECT_OK(read(0));
    EXPECT_OK(read(2));
    if (row().checks_generation) {
        EXPECT_THAT(read(4), HasCode(Code::corrupt));
        exporter_->set_generation(3);
        EXPECT_THAT(read(2), HasCode(Code::corrupt));
        if (const auto seen = channel->generation()) {
            EXPECT_EQ(3U, *seen);
        }
        exporter_->set_generation(4);
        EXPECT_OK(read(4));
        // Not only for transfers that have bytes.
        EXPECT_THAT(move_one(*channel, {.local = &target, .generation = 2}).status, HasCode(Code::corrupt));
    }
    EXPECT_OK(read(0));
}

TEST_P(TransportConformance, ClosesInFlight) {
    start_exporter();
    auto channel = attach();
    const Region target = target_of(kSourceBytes);
    const auto transfers = reads(target, 256, 4096);
    const auto accepted = channel->submit(transfers).value();
    ASSERT_GT(accepted, 0U);
    std::array<Completion, 4> some;
    std::set<std::uint64_t> seen;
    const auto collect = [&](std::size_t n) {
        for (std::size_t i = 0; i < n; ++i) EXPECT_TRUE(seen.insert(some[i].ticket).second) << some[i].ticket;
    };
    const auto first = channel->wait(some, kPatience);
    ASSERT_OK(first);
    collect(*first);
    channel->close();
    channel->close();  // idempotent
    while (seen.size() < accepted) {
        const auto n = channel->wait(some, kPatience);
        ASSERT_OK(n);
        ASSERT_GT(*n, 0U) << seen.size() << " of " << accepted;
        for (std::size_t i = 0; i < *n; ++i) {
            if (!some[i].status) {
                EXPECT_THAT(some[i].status, HasCode(Code::cancelled));
            }
        }
        collect(*n);
    }
    EXPECT_EQ(0U, channel->wait(some, Deadline::never()).value());
    EXPECT_THAT(channel->submit(transfers), HasCode(Code::cancelled));
    // The exporter and other channels go on.
    auto other = attach();
    EXPECT_OK(move_one(*other, {.local = &target, .row_bytes = 4096}).status);
}

TEST_P(TransportConformance, AChannelCanBeDroppedWithTransfersUnderWay) {
    start_exporter();
    {
        const Region target = target_of(kSourceBytes);
        auto channel = attach();
        ASSERT_GT(channel->submit(reads(target, 100, 4096)).value(), 0U);
    }
    auto other = attach();
    const Region target = target_of(100);
    EXPECT_OK(move_one(*other, {.local = &target, .row_bytes = 100}).status);
}

TEST_P(TransportConformance, ManyPeersAndLateOnes) {
    start_exporter();
    const Region target = target_of(kSourceBytes);
    std::vector<std::unique_ptr<Channel>> channels;
    for (int i = 0; i < 5; ++i) channels.push_back(attach());
    for (std::size_t i = 0; i < channels.size(); ++i) {
        EXPECT_OK(move_one(*channels[i], {.remote_offset = i * 1000, .local = &target, .local_offset = i * 1000, .row_bytes = 1000}).status);
    }
    channels.erase(channels.begin(), channels.begin() + 3);
    // One that comes when others have gone, of a transport of its own.
    const auto late_transport = make_importer(setting_);
    auto late = late_transport->attach(exporter_->descriptor(), {.deadline = kPatience});
    ASSERT_OK(late);
    EXPECT_OK(move_one(**late, {.remote_offset = 5000, .local = &target, .local_offset = 5000, .row_bytes = kSourceBytes - 5000}).status);
    EXPECT_TRUE(holds_content(target, 0, kSourceBytes));
}

INSTANTIATE_TEST_SUITE_P(Rows, TransportConformance, ::testing::ValuesIn(cases_of({Peers::threads, Peers::processes})),
                         [](const auto& info) { return name_of_case(info.param); });

class HugeTransfers : public TransportSuite {};

TEST_P(HugeTransfers, MoveInOnePiece) {
    constexpr std::size_t kHuge = (200U << 20) + 4097;
    start_exporter({.bytes = kHuge});
    auto channel = attach();
    const Region target = target_of(kHuge);
    const auto done = move_one(*channel, {.local = &target, .row_bytes = kHuge, .want_digest = true});
    EXPECT_OK(done.status);
    EXPECT_TRUE(holds_content(target, 0, kHuge));
    EXPECT_EQ(digest_of(content_), done.digest.value());
}

std::vector<Case> plain_cases() {
    auto cases = cases_of({Peers::processes});
    cases.erase(std::remove_if(cases.begin(), cases.end(), [](const Case& one) { return one.decorated; }), cases.end());
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Rows, HugeTransfers, ::testing::ValuesIn(plain_cases()),
                         [](const auto& info) { return name_of_case(info.param); });

}  // namespace
}  // namespace wsync::testing
