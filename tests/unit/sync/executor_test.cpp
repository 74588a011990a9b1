// The executor over a transport that does as it is told: every block once at its place, bounds held, failures clean.
#include "sync/executor.hpp"

#include "doubles/scripted_transport.hpp"
#include "result_matchers.hpp"

#include <numeric>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;
using testing::Script;
using testing::ScriptedTransport;

constexpr std::uint64_t kMiB = 1 << 20;

std::vector<std::byte> noise(std::size_t bytes, unsigned seed) {
    std::vector<std::byte> out(bytes);
    for (auto& byte : out) byte = static_cast<std::byte>((seed = seed * 1664525 + 1013904223) >> 24);
    return out;
}

// `ranks` source ranks that each hold a part of the rows of every tensor; one sink rank that wants all of it, or the
// left half of each row.
struct Fixture {
    explicit Fixture(std::vector<std::pair<std::uint64_t, std::uint64_t>> shapes, std::uint32_t ranks = 1, bool left_half = false, ExecutorOptions options = {}) {
        std::vector<TensorSpec> specs;
        for (std::size_t i = 0; i < shapes.size(); ++i) specs.push_back({"t" + std::to_string(i), DType::u8, {shapes[i].first, shapes[i].second}});
        const auto manifest = Manifest::make(specs).value();
        std::vector<Shard> from, to;
        for (std::uint32_t t = 0; t < shapes.size(); ++t) {
            const auto [rows, columns] = shapes[t];
            for (std::uint32_t r = 0; r < ranks; ++r) {
                const auto begin = rows * r / ranks, end = rows * (r + 1) / ranks;
                from.push_back({r, t, {{begin, 0}, {end - begin, columns}}});
            }
            to.push_back({0, t, {{0, 0}, {rows, left_half ? columns / 2 : columns}}});
        }
        source = Layout::make(manifest, ranks, from, Coverage::full).value();
        sink = Layout::make(manifest, 1, to, left_half ? Coverage::partial : Coverage::full).value();
        for (std::uint32_t r = 0; r < ranks; ++r) {
            places.push_back(pack(source, r).value());
            memory.push_back(noise(places.back().bytes(), r + 1));
            routes.push_back({{r, 0, {ScriptedTransport::descriptor(r)}}});
        }
        place = pack(sink, 0).value();
        received.resize(place.bytes());
        region.address = received.data();
        region.bytes = received.size();
        region.writable = true;
        binding = bind_plan(make_plan(source, sink).value(), source, places, sink, 0, place).value();
        blocks.resize(binding.blocks.size());
        std::iota(blocks.begin(), blocks.end(), 0u);
        digests.resize(blocks.size());
        std::vector<std::span<const std::byte>> regions(memory.begin(), memory.end());
        transports.push_back(std::make_unique<ScriptedTransport>(script, std::move(regions)));
        executor = std::make_unique<Executor>(options, transports, default_kernels());
    }
    Work work() {
        Work w;
        w.binding = &binding;
        w.blocks = blocks;
        w.routes = &routes;
        w.sink = std::span(&region, 1);
        w.sink_layout = &sink;
        w.sink_place = &place;
        w.digests = digests;
        return w;
    }
    Status run(Deadline deadline = 30s) { return executor->run(work(), deadline); }
    // What every byte of the sink must be, found without plans: tensor by tensor, row by row.
    void expect_all_right() const {
        for (std::size_t s = 0; s < sink.shards().size(); ++s) {
            const auto& to = sink.shards()[s];
            const auto columns = to.box.size[1], row_bytes = source.manifest()[to.tensor].shape[1];
            for (std::uint64_t row = 0; row < to.box.size[0]; ++row) {
                const std::byte* expected = nullptr;
                for (std::size_t f = 0; f < source.shards().size(); ++f) {
                    const auto& from = source.shards()[f];
                    if (from.tensor != to.tensor || row < from.box.offset[0] || row >= from.box.offset[0] + from.box.size[0]) continue;
                    const auto at = places[from.rank].places[f - source.first_shard_of(from.rank)].offset + (row - from.box.offset[0]) * row_bytes;
                    expected = memory[from.rank].data() + at;
                }
                ASSERT_NE(expected, nullptr);
                ASSERT_EQ(0, std::memcmp(received.data() + place.places[s].offset + row * columns, expected, columns)) << "tensor " << to.tensor << " row " << row;
            }
        }
    }

    Script script;
    Layout source, sink;
    std::vector<Placement> places;
    Placement place;
    std::vector<std::vector<std::byte>> memory;
    std::vector<std::byte> received;
    Region region;
    Binding binding;
    Routes routes;
    std::vector<std::uint32_t> blocks;
    std::vector<Digest> digests;
    std::vector<std::unique_ptr<Transport>> transports;
    std::unique_ptr<Executor> executor;
};

TEST(Executor, EveryBlockOnceAtItsPlace) {
    for (const unsigned threads : {1u, 2u, 4u}) {
        for (const std::uint32_t ranks : {1u, 3u}) {
            SCOPED_TRACE(std::to_string(threads) + " threads, " + std::to_string(ranks) + " ranks");
            Fixture f({{1000, 7000}, {1, 1}, {300, 10000}, {17, 333333}}, ranks, false, {.threads = threads});
            f.script.queue = 3;
            f.script.completions = 2;
            ASSERT_OK(f.run());
            f.expect_all_right();
            std::sort(f.script.tickets.begin(), f.script.tickets.end());
            EXPECT_EQ(f.script.tickets, std::vector<std::uint64_t>(f.blocks.begin(), f.blocks.end()));
            for (std::size_t i = 0; i < f.digests.size(); ++i) EXPECT_NE(f.digests[i], Digest{}) << i;
            EXPECT_EQ(f.script.bytes, 0u);
            EXPECT_EQ(f.executor->transports_used(), "scripted");
        }
    }
}

TEST(Executor, StridedBlocksAreDigestedWhereTheyLie) {
    Fixture f({{500, 9000}, {64, 2}}, 2, true, {.threads = 2});
    ASSERT_OK(f.run());
    f.expect_all_right();
    for (std::size_t i = 0; i < f.binding.blocks.size(); ++i) {
        const auto& block = f.binding.blocks[i];
        const auto at_rest = digest_of(std::span<const std::byte>(f.received).subspan(
            block.sink_base + f.binding.rows[block.first_rows].sink_offset, block.bytes));
        EXPECT_EQ(f.digests[i], at_rest) << i;
    }
}

TEST(Executor, OnlyTheAskedBlocksMove) {
    Fixture f({{100, 100000}});
    f.blocks = {2, 5};
    ASSERT_OK(f.run());
    EXPECT_EQ(f.script.tickets, (std::vector<std::uint64_t>{2, 5}));
    for (std::size_t i = 0; i < f.digests.size(); ++i) EXPECT_EQ(f.digests[i] == Digest{}, i != 2 && i != 5);
}

TEST(Executor, NothingToMoveNeedsNoChannel) {
    Fixture f({{100, 100000}});
    f.blocks.clear();
    ASSERT_OK(f.run());
    EXPECT_EQ(f.script.attached, 0u);
}

// The budget of memory: what is under way is bounded over all threads, by the limit and a bucket each.
TEST(Executor, BytesInFlightAreBounded) {
    for (const unsigned threads : {1u, 3u}) {
        ExecutorOptions options{.threads = threads, .bucket_bytes = 2 * kMiB, .in_flight_bytes = 6 * kMiB};
        Fixture f({{64, kMiB}}, 1, false, options);
        ASSERT_OK(f.run());
        f.expect_all_right();
        EXPECT_LE(f.script.most_bytes, options.in_flight_bytes + threads * options.bucket_bytes);
        EXPECT_GE(f.script.most_bytes, 2 * kMiB);
    }
}

TEST(Executor, ALittleWorkTakesOneThread) {
    Fixture f({{30, 100000}}, 1, false, {.threads = 4});
    ASSERT_OK(f.executor->connect(f.work(), 1s));
    EXPECT_EQ(f.script.attached, 1u);
    ASSERT_OK(f.run());
    EXPECT_EQ(f.script.attached, 1u);
}

TEST(Executor, ChannelsAreKeptFromRunToRun) {
    Fixture f({{64, kMiB}}, 2, false, {.threads = 2});
    ASSERT_OK(f.executor->connect(f.work(), 1s));
    const auto attached = f.script.attached;
    EXPECT_EQ(attached, 4u);
    for (int i = 0; i < 3; ++i) ASSERT_OK(f.run());
    EXPECT_EQ(f.script.attached, attached);
    f.executor->disconnect();
    EXPECT_EQ(f.script.open, 0u);
    EXPECT_EQ(f.executor->transports_used(), "");
}

TEST(Executor, AFailedTransferNamesItsTensorAndEndsTheRun) {
    for (const unsigned threads : {1u, 2u}) {
        Fixture f({{20, kMiB}, {20, kMiB}}, 1, false, {.threads = threads, .bucket_bytes = 4 * kMiB});
        f.script.fail_ticket = 23;
        EXPECT_THAT(f.run(), HasError(Code::io_error, "moving t1"));
        EXPECT_THAT(f.run(), HasError(Code::io_error, "told to fail"));
        // What was under way when it failed is closed, and nothing is written any more.
        const auto before = f.received;
        std::this_thread::yield();
        EXPECT_EQ(f.received, before);
        // The same executor goes on when the cause has gone.
        f.script.fail_ticket = ~std::uint64_t{0};
        ASSERT_OK(f.run());
        f.expect_all_right();
    }
}

// One cause, however many threads it stops: what it cancelled elsewhere is no cause.
TEST(Executor, TheFirstCauseIsTold) {
    Fixture f({{64, kMiB}}, 1, false, {.threads = 4, .bucket_bytes = kMiB});
    f.script.fail_ticket = 40;
    f.script.fail_code = Code::corrupt;
    EXPECT_THAT(f.run(), HasCode(Code::corrupt));
}

TEST(Executor, ADeadlineEndsTheRun) {
    Fixture f({{64, kMiB}}, 2, false, {.threads = 2});
    f.script.stall = true;
    EXPECT_THAT(f.run(10ms), HasCode(Code::timed_out));
    EXPECT_GE(f.script.closed_with_work, 1u);  // the other thread may not have begun
    EXPECT_EQ(f.script.open, 0u);
    f.script.stall = false;
    f.script.bytes = 0;
    ASSERT_OK(f.run());
    f.expect_all_right();
}

TEST(Executor, ALostPeerEndsTheRun) {
    Fixture f({{64, kMiB}}, 1, false, {.threads = 2});
    f.script.refuse_submit = true;
    EXPECT_THAT(f.run(), HasCode(Code::peer_lost));
    f.routes[0][0].descriptors = {ScriptedTransport::descriptor(99)};
    f.executor->disconnect();
    EXPECT_THAT(f.executor->connect(f.work(), 1s), HasError(Code::peer_lost, "attaching by scripted"));
    f.routes[0][0].descriptors = {{"carrier pigeon", {}}};
    EXPECT_THAT(f.executor->connect(f.work(), 1s), HasCode(Code::unsupported));
}

TEST(Executor, ProgressCountsEveryByteOnce) {
    Fixture f({{64, kMiB}}, 1, false, {.threads = 2});
    std::mutex mutex;
    std::uint64_t most = 0;
    std::size_t calls = 0;
    auto work = f.work();
    work.moved = [&](std::uint64_t bytes) {
        std::lock_guard lock(mutex);
        most = std::max(most, bytes);
        ++calls;
    };
    ASSERT_OK(f.executor->run(work, 30s));
    EXPECT_EQ(most, 64 * kMiB);
    EXPECT_EQ(calls, f.blocks.size());
}

TEST(Executor, FillsAreWritten) {
    const auto manifest = Manifest::make({{"a", DType::u8, {4, 8}}}).value();
    const auto wide = Manifest::make({{"a", DType::u8, {4, 12}}}).value();
    const auto source = Layout::replicated(manifest).value(), sink = Layout::replicated(wide).value();
    const Mapping mapping{{{"a", {{0, 0}, {4, 8}}, "a", {{0, 0}, {4, 8}}, {}}, {"a", {{0, 8}, {4, 4}}, "", {}, std::byte{0x7e}}}};
    const auto place = pack(sink, 0).value();
    const std::vector<Placement> places{pack(source, 0).value()};
    const auto binding = bind_plan(make_plan(source, sink, mapping).value(), source, places, sink, 0, place).value();
    const auto bytes = noise(32, 7);
    std::vector<std::byte> received(place.bytes());
    Region region;
    region.address = received.data();
    region.bytes = received.size();
    Script script;
    std::vector<std::unique_ptr<Transport>> transports;
    transports.push_back(std::make_unique<ScriptedTransport>(script, std::vector<std::span<const std::byte>>{bytes}));
    Executor executor({}, transports, default_kernels());
    const Routes routes{{{0, 0, {ScriptedTransport::descriptor(0)}}}};
    const std::vector<std::uint32_t> blocks{0};
    std::vector<Digest> digests(1);
    Work work;
    work.binding = &binding;
    work.blocks = blocks;
    work.routes = &routes;
    work.sink = std::span(&region, 1);
    work.sink_layout = &sink;
    work.sink_place = &place;
    work.digests = digests;
    ASSERT_EQ(binding.blocks.size(), 1u);
    ASSERT_OK(executor.run(work, 1s));
    for (std::size_t row = 0; row < 4; ++row)
        for (std::size_t column = 0; column < 12; ++column)
            EXPECT_EQ(received[row * 12 + column], column < 8 ? bytes[row * 8 + column] : std::byte{0x7e});
}

// A limited rate is never passed, over the whole and over short spans: not by more than the 20 ms that a bucket holds.
TEST(Executor, ARateIsNotPassed) {
    constexpr double kRate = 64.0 * kMiB;
    Fixture f({{32, kMiB}}, 1, false, {.threads = 2, .bytes_per_second = kRate});
    std::mutex mutex;
    std::vector<Deadline::clock::time_point> at;
    f.script.on_transfer = [&](const Transfer&) {
        std::lock_guard lock(mutex);
        at.push_back(Deadline::clock::now());
    };
    const auto begin = Deadline::clock::now();
    ASSERT_OK(f.run());
    const auto seconds = std::chrono::duration<double>(Deadline::clock::now() - begin).count();
    f.expect_all_right();
    // The last of 32 buckets of a megabyte begins when 31 have had their time; the first may spend what the bucket held.
    EXPECT_GE(seconds, 0.95 * (31.0 * kMiB / kRate - 0.02));
    ASSERT_EQ(at.size(), 32u);
    for (std::size_t i = 0; i + 8 < at.size(); ++i) {
        const auto span = std::chrono::duration<double>(at[i + 8] - at[i]).count();
        EXPECT_GE(span, 0.95 * 8.0 * kMiB / kRate - 0.02 - 2.0 * kMiB / kRate) << i;
    }
}

}  // namespace
}  // namespace wsync
