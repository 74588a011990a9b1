#include "transport/file/chunk_planner.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <numeric>

#include <sys/eventfd.h>
#include <unistd.h>

namespace wsync::file_transport {
namespace {

// Addresses are never touched by the planner.
std::byte* at(std::uint64_t address) { return reinterpret_cast<std::byte*>(address); }

class Plans : public ::testing::Test {
protected:
    Plans() : event_(::eventfd(0, EFD_NONBLOCK)), jobs_(default_kernels(), event_) { options_.direct = true; }
    ~Plans() override { ::close(event_); }

    Job* flat(Op op, std::uint64_t file_offset, std::uint64_t memory, std::uint64_t bytes) {
        Transfer t;
        t.op = op;
        t.row_bytes = bytes;
        return jobs_.admit(t, at(memory), file_offset);
    }
    Job* rows(std::uint64_t file_offset, std::uint64_t remote_stride, std::uint64_t memory, std::uint64_t local_stride, std::uint64_t row_bytes,
              std::uint64_t count) {
        Transfer t;
        t.row_bytes = row_bytes;
        t.rows = count;
        t.remote_stride = remote_stride;
        t.local_stride = local_stride;
        return jobs_.admit(t, at(memory), file_offset);
    }
    std::vector<Chunk> plan(const std::vector<Job*>& jobs) {
        ChunkPlanner planner(options_, [this](std::uint64_t, std::uint64_t) { return resident_; });
        for (Job* job : jobs) planner.push(job);
        std::vector<Chunk> chunks;
        while (!planner.empty()) chunks.push_back(planner.next());
        return chunks;
    }

    int event_;
    JobTable jobs_;
    PlannerOptions options_;
    bool resident_ = false;
};

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kMemory = 1ull << 40;

TEST_F(Plans, ALargeReadOfTheSamePhaseGoesStraightToItsTargetInChunks) {
    const auto chunks = plan({flat(Op::read, 4096, kMemory + 4096, 10 * kMiB)});
    ASSERT_EQ(chunks.size(), 3u);
    for (const Chunk& chunk : chunks) EXPECT_EQ(chunk.route, Route::direct);
    EXPECT_EQ(chunks[0].bytes, 4 * kMiB);
    EXPECT_EQ(chunks[2].bytes, 2 * kMiB);
}

TEST_F(Plans, UnalignedEndsGoThroughASlotAndTheBodyDoesNot) {
    const auto chunks = plan({flat(Op::read, 1000, kMemory + 1000, kMiB)});
    ASSERT_EQ(chunks.size(), 3u);
    EXPECT_EQ(chunks[0].route, Route::bounce);
    EXPECT_EQ(chunks[0].offset, 0u);
    EXPECT_EQ(chunks[0].bytes, 4096u);
    EXPECT_EQ(chunks[1].route, Route::direct);
    EXPECT_EQ(chunks[1].offset, 4096u);
    EXPECT_EQ(chunks[2].route, Route::bounce);
    EXPECT_EQ(chunks[2].payload_end(), 1000 + kMiB);
}

TEST_F(Plans, AnotherPhaseGoesThroughSlotsOfBoundedSize) {
    const auto chunks = plan({flat(Op::read, 4096, kMemory + 8, 9 * kMiB)});
    ASSERT_EQ(chunks.size(), 3u);
    for (const Chunk& chunk : chunks) {
        EXPECT_EQ(chunk.route, Route::bounce);
        EXPECT_LE(chunk.bytes, options_.bounce_bytes);
        EXPECT_EQ(chunk.offset % 4096, 0u);
    }
}

TEST_F(Plans, ManySmallNeighboursBecomeFewLargeRequests) {
    std::vector<Job*> jobs;
    for (std::uint64_t i = 0; i < 1000; ++i) jobs.push_back(flat(Op::read, 4096 + i * 49152, kMemory + 4096 + i * 49152, 49152));
    const auto chunks = plan(jobs);
    EXPECT_EQ(chunks.size(), (1000 * 49152 + 4 * kMiB - 1) / (4 * kMiB));
    for (const Chunk& chunk : chunks) EXPECT_EQ(chunk.route, Route::direct);
}

TEST_F(Plans, SmallNeighboursScatteredInMemoryShareASlot) {
    std::vector<Job*> jobs;
    for (std::uint64_t i = 0; i < 64; ++i) jobs.push_back(flat(Op::read, i * 16384, kMemory + (64 - i) * 100'000, 16384));
    const auto chunks = plan(jobs);
    ASSERT_EQ(chunks.size(), 1u);
    EXPECT_EQ(chunks[0].route, Route::bounce);
    EXPECT_EQ(chunks[0].pieces.size(), 64u);
}

TEST_F(Plans, ShortGapsAreReadOverAndLongOnesSkipped) {
    auto close = plan({rows(0, 8192, kMemory, 2048, 2048, 100)});
    ASSERT_EQ(close.size(), 1u);
    EXPECT_EQ(close[0].pieces.size(), 100u);
    auto far = plan({rows(0, kMiB, kMemory, 2048, 2048, 5)});
    EXPECT_EQ(far.size(), 5u);
}

TEST_F(Plans, CachedRangesAreReadFromThePageCacheAndNeverWritten) {
    resident_ = true;
    const auto chunks = plan({flat(Op::read, 1, kMemory, 10 * kMiB)});
    for (const Chunk& chunk : chunks) EXPECT_EQ(chunk.route, Route::buffered);
    EXPECT_EQ(plan({flat(Op::write, 4096, kMemory, kMiB)})[0].route, Route::direct);
}

TEST_F(Plans, WritesAreLargeAndOnlyWholeBlocksAreDirect) {
    const auto chunks = plan({flat(Op::write, 100, kMemory + 100, 40 * kMiB)});
    ASSERT_EQ(chunks.size(), 5u);
    EXPECT_EQ(chunks.front().route, Route::buffered);
    EXPECT_EQ(chunks.front().bytes, 4096u - 100);
    EXPECT_EQ(chunks[1].route, Route::direct);
    EXPECT_EQ(chunks[1].bytes, 16 * kMiB);
    EXPECT_EQ(chunks.back().route, Route::buffered);
    EXPECT_EQ(chunks.back().bytes, 100u);
}

TEST_F(Plans, ReadsAndWritesAreNotMixed) {
    const auto chunks = plan({flat(Op::read, 0, kMemory, kMiB), flat(Op::write, kMiB, kMemory + kMiB, kMiB), flat(Op::read, 2 * kMiB, kMemory + 2 * kMiB, kMiB)});
    ASSERT_EQ(chunks.size(), 3u);
    EXPECT_EQ(chunks[1].op, Op::write);
}

TEST_F(Plans, FailedJobsLoseTheirRest) {
    ChunkPlanner planner(options_, [](std::uint64_t, std::uint64_t) { return false; });
    Job* first = flat(Op::read, 0, kMemory, 16 * kMiB);
    Job* second = flat(Op::read, 32 * kMiB, kMemory, kMiB);
    planner.push(first);
    planner.push(second);
    const Chunk chunk = planner.next();
    EXPECT_EQ(chunk.bytes, 4 * kMiB);
    first->failed = true;
    std::vector<std::pair<Job*, std::uint64_t>> dropped;
    planner.drop_failed([&](Job* job, std::uint64_t from) { dropped.emplace_back(job, from); });
    ASSERT_EQ(dropped.size(), 1u);
    EXPECT_EQ(dropped[0].first, first);
    EXPECT_EQ(dropped[0].second, 4 * kMiB);
    EXPECT_EQ(planner.next().pieces.front().job, second);
    EXPECT_TRUE(planner.empty());
}

// Whatever comes in, each byte of each job goes out exactly once, in requests that keep the rules of O_DIRECT.
TEST_F(Plans, EveryByteIsInExactlyOneChunk) {
    EXPECT_TRUE(rc::check([this] {
        options_.direct = *rc::gen::arbitrary<bool>();
        resident_ = *rc::gen::weightedElement<bool>({{3, false}, {1, true}});
        options_.memory_alignment = *rc::gen::element<std::uint64_t>(4, 512, 4096);
        const Op op = *rc::gen::element(Op::read, Op::write);
        std::vector<Job*> jobs;
        std::uint64_t file = *rc::gen::inRange<std::uint64_t>(0, 10'000), memory = kMemory + *rc::gen::inRange<std::uint64_t>(0, 10'000);
        const auto count = *rc::gen::inRange(1, 12);
        for (int i = 0; i < count; ++i) {
            const auto row_bytes = *rc::gen::inRange<std::uint64_t>(1, 200'000);
            const auto row_count = op == Op::read ? *rc::gen::weightedElement<std::uint64_t>({{3, 1}, {1, 7}}) : 1;
            const auto gap = row_count > 1 ? *rc::gen::inRange<std::uint64_t>(0, 100'000) : 0;
            Transfer t;
            t.op = op;
            t.row_bytes = row_bytes;
            t.rows = row_count;
            t.remote_stride = row_bytes + gap;
            t.local_stride = row_bytes;
            jobs.push_back(jobs_.admit(t, at(memory), file));
            file += row_count * (row_bytes + gap) + *rc::gen::element<std::uint64_t>(0, 0, 17, 4096);
            memory += row_count * row_bytes + *rc::gen::element<std::uint64_t>(0, 0, 64, 512);
        }
        std::map<Job*, std::uint64_t> covered;
        for (const Chunk& chunk : plan(jobs)) {
            RC_ASSERT(!chunk.pieces.empty());
            if (chunk.route != Route::buffered) {
                RC_ASSERT(options_.direct);
                RC_ASSERT(chunk.offset % options_.block_bytes == 0u);
                RC_ASSERT(chunk.bytes % options_.block_bytes == 0u);
            }
            if (chunk.route == Route::bounce) RC_ASSERT(chunk.bytes <= options_.bounce_bytes);
            std::uint64_t end = chunk.offset;
            for (const Piece& p : chunk.pieces) {
                RC_ASSERT(p.file_offset >= end);
                RC_ASSERT(p.file_end() <= chunk.offset + chunk.bytes);
                if (chunk.op == Op::write || chunk.route == Route::direct) RC_ASSERT(p.file_offset == end);
                end = p.file_end();
                RC_ASSERT(p.at == covered[p.job]);  // in order, none twice
                covered[p.job] += p.bytes;
                const auto& t = p.job->transfer;
                RC_ASSERT(p.memory == p.job->memory + (p.at / t.row_bytes) * t.local_stride + p.at % t.row_bytes);
            }
            if (chunk.op == Op::write && chunk.route != Route::buffered) RC_ASSERT(end == chunk.offset + chunk.bytes);
            if (chunk.route == Route::direct) {
                RC_ASSERT(reinterpret_cast<std::uintptr_t>(chunk.pieces.front().memory) % options_.memory_alignment == 0u);
                const Piece& first = chunk.pieces.front();
                const Piece& last = chunk.pieces.back();
                RC_ASSERT(static_cast<std::uint64_t>(last.memory + last.bytes - first.memory) == chunk.bytes);
            }
        }
        for (Job* job : jobs) RC_ASSERT(covered[job] == job->bytes);
    }));
}

}  // namespace
}  // namespace wsync::file_transport
