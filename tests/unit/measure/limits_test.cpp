#include "measure/limits.hpp"

#include "measure/raw_disk.hpp"
#include "result_matchers.hpp"
#include "unit/memory/footprint.hpp"

#include <csignal>
#include <fcntl.h>
#include <set>
#include <stdlib.h>
#include <unistd.h>

namespace wsync {
namespace {

namespace fs = std::filesystem;

class LimitsTest : public ::testing::Test {
protected:
    void SetUp() override {
        char path[] = "/tmp/wsync-limits-XXXXXX";
        directory_ = ::mkdtemp(path);
        options_ = {.bytes = 1 << 20, .rounds = 2, .directory = directory_};
    }
    void TearDown() override { fs::remove_all(directory_); }
    bool directory_is_empty() const { return fs::directory_iterator(directory_) == fs::directory_iterator(); }

    std::string directory_;
    LimitOptions options_;
};

TEST_F(LimitsTest, EachGivesAPositiveFigureAndLeavesNothingBehind) {
    ASSERT_OK(measure_limits(options_));  // what libraries make once
    auto before = testing::Footprint::settled();
    std::vector<std::string> lines;
    options_.progress = [&](std::string_view line) { lines.emplace_back(line); };
    auto limits = measure_limits(options_).value();
    ASSERT_EQ(limits.size(), 8U);
    std::vector<std::string> names;
    for (const auto& limit : limits) {
        names.push_back(limit.name);
        EXPECT_GT(limit.bytes_per_second, 0) << limit.name;
        EXPECT_EQ(limit.rounds.size(), 2U) << limit.name;
        EXPECT_DOUBLE_EQ(limit.bytes_per_second, (limit.rounds[0] + limit.rounds[1]) / 2) << limit.name;
        EXPECT_FALSE(limit.variant.empty()) << limit.name;
    }
    EXPECT_EQ(names, (std::vector<std::string>{"M", "M2", "D2", "T", "W", "W2", "R", "P"}));
    for (int i : {0, 1, 2}) EXPECT_NE(find_kernels(limits[static_cast<std::size_t>(i)].variant), nullptr);
    EXPECT_EQ(lines.size(), 16U);
    EXPECT_THAT(lines.front(), ::testing::StartsWith("M round 1 of 2: "));
    EXPECT_TRUE(directory_is_empty());
    EXPECT_EQ(testing::settled_at(before), before);
}

TEST_F(LimitsTest, AnOddSizeOfPagesWorksToo) {
    options_.bytes = 5 * 4096;
    options_.rounds = 1;
    auto limits = measure_limits(options_).value();
    for (const auto& limit : limits) EXPECT_GT(limit.bytes_per_second, 0) << limit.name;
}

TEST_F(LimitsTest, NothingIsLeftWhileAProbeLivesEither) {
    auto probe = LimitProbe::make(LimitKind::write_recycled, options_).value();
    EXPECT_TRUE(directory_is_empty());
    EXPECT_OK(probe.run_once());
    EXPECT_TRUE(directory_is_empty());
}

TEST_F(LimitsTest, ProbesRunRoundByRoundAndCanKeepTheBest) {
    auto buffers = LimitBuffers::make(options_.bytes).value();
    auto memory = LimitProbe::make(LimitKind::copy_1, options_, buffers).value();
    auto socket = LimitProbe::make(LimitKind::socket, options_, buffers).value();
    EXPECT_THAT(memory.limit(), testing::HasCode(Code::invalid_argument));
    memory.keep_best();  // before the first round there is nothing to choose by
    EXPECT_GT(memory.variants().size(), 1U);
    EXPECT_GT(socket.variants().size(), 3U);
    auto before = testing::Footprint::settled();
    for (int round = 0; round < 3; ++round) {
        EXPECT_GT(memory.run_once().value(), 0);
        EXPECT_GT(socket.run_once().value(), 0);
        EXPECT_EQ(testing::settled_at(before).threads, before.threads);
    }
    for (const auto& variant : socket.variants()) EXPECT_EQ(variant.rounds.size(), 3U) << variant.name;
    auto best = socket.limit().value();
    socket.keep_best();
    ASSERT_EQ(socket.variants().size(), 1U);
    EXPECT_EQ(socket.variants().front().name, best.variant);
    auto last = socket.run_once().value();
    EXPECT_EQ(socket.limit().value().rounds.size(), 4U);
    EXPECT_EQ(socket.limit().value().rounds.back(), last);
}

TEST_F(LimitsTest, EveryCongestionControlThatIsUsedIsNamedOnce) {
    auto probe = LimitProbe::make(LimitKind::socket, options_).value();
    std::set<std::string> names;
    for (const auto& variant : probe.variants()) EXPECT_TRUE(names.insert(variant.name).second) << variant.name;
}

TEST_F(LimitsTest, TheBytesReallyMove) {
    auto buffers = LimitBuffers::make(options_.bytes).value();
    auto source = *SharedSlab::region(buffers->slab).host_bytes();
    auto target = buffers->buffer->bytes();
    for (auto kind : {LimitKind::copy_1, LimitKind::copy_2, LimitKind::copy_digest_2, LimitKind::socket}) {
        auto probe = LimitProbe::make(kind, options_, buffers).value();
        for (const auto& variant : probe.variants()) {
            std::fill(target.begin(), target.end(), std::byte{0});
            ASSERT_GT(variant.run().value(), 0);
            EXPECT_TRUE(std::equal(source.begin(), source.end(), target.begin())) << name_of(kind) << " " << variant.name;
        }
    }
    for (auto kind : {LimitKind::read_cold, LimitKind::read_warm}) {
        std::copy(source.begin(), source.end(), target.begin());
        auto probe = LimitProbe::make(kind, options_, buffers).value();  // writes its file from the buffer
        for (const auto& variant : probe.variants()) {
            std::fill(target.begin(), target.end(), std::byte{0});
            ASSERT_GT(variant.run().value(), 0);
            EXPECT_TRUE(std::equal(source.begin(), source.end(), target.begin())) << name_of(kind) << " " << variant.name;
        }
    }
}

TEST_F(LimitsTest, RefusesWhatGivesNoFigure) {
    options_.rounds = 0;
    EXPECT_THAT(measure_limits(options_), testing::HasError(Code::invalid_argument, "0 rounds"));
    options_.rounds = 1;
    options_.bytes = 1000;
    EXPECT_THAT(measure_limits(options_), testing::HasError(Code::invalid_argument, "multiple of 4096"));
    options_.bytes = 8192;
    options_.directory = directory_ + "/none";
    EXPECT_THAT(LimitProbe::make(LimitKind::read_cold, options_), testing::HasError(Code::not_found, "measuring R"));
    auto small = LimitBuffers::make(4096).value();
    EXPECT_THAT(LimitProbe::make(LimitKind::copy_1, options_, small), testing::HasError(Code::invalid_argument, "4096"));
}

TEST_F(LimitsTest, MoreThanTheMachineHasIsRefusedWithNumbers) {
    options_.bytes = 1ULL << 45;
    EXPECT_THAT(measure_limits(options_), testing::HasError(Code::resource_exhausted, "are left"));
    EXPECT_THAT(NamelessFile::make(directory_, 1ULL << 60, false), testing::HasError(Code::resource_exhausted, "are free"));
    EXPECT_TRUE(directory_is_empty());
}

TEST_F(LimitsTest, ThreadsAndTheRingMoveTheSameBytes) {
    auto buffers = LimitBuffers::make(1 << 20).value();
    auto target = buffers->buffer->bytes();
    std::vector<std::byte> want(target.begin(), target.end());
    for (bool direct : {false, true}) {
        auto file = NamelessFile::make(directory_, 1 << 20, direct).value();
        if (!have_io_uring()) continue;
        ASSERT_OK(transfer_by_ring(file.fd.get(), true, target, {64 << 10, 3}));
        std::fill(target.begin(), target.end(), std::byte{0});
        ASSERT_OK(transfer_by_threads(file.fd.get(), false, target, {128 << 10, 2}));
        EXPECT_TRUE(std::equal(want.begin(), want.end(), target.begin()));
        ASSERT_OK(transfer_by_threads(file.fd.get(), true, target, {4096, 4}));
        std::fill(target.begin(), target.end(), std::byte{0});
        ASSERT_OK(transfer_by_ring(file.fd.get(), false, target, {4096, 7}));
        EXPECT_TRUE(std::equal(want.begin(), want.end(), target.begin()));
        // A file that is too short is an error on either way, and no hang.
        ASSERT_EQ(::ftruncate(file.fd.get(), 8192), 0);
        EXPECT_THAT(transfer_by_ring(file.fd.get(), false, target, {64 << 10, 3}), testing::HasError(Code::io_error, "ended early"));
        EXPECT_THAT(transfer_by_threads(file.fd.get(), false, target, {64 << 10, 3}), testing::HasError(Code::io_error, "ended early"));
    }
}

TEST(Limits, AnotherKernelSetIsTakenOnlyWhereItIsClearlyFaster) {
    const std::string usual(default_kernels().name);
    const auto other = usual == "memcpy" ? std::string(available_kernels().back().name) : std::string("memcpy");
    const auto best = [&](std::vector<double> usual_rounds, std::vector<double> other_rounds) {
        const std::vector<LimitProbe::Variant> variants{{other, {}, std::move(other_rounds)}, {usual, {}, std::move(usual_rounds)}};
        return std::string(best_kernels(variants).name);
    };
    EXPECT_EQ(&best_kernels({}), &default_kernels());
    EXPECT_EQ(best({10, 10, 10}, {12, 12, 12}), other);
    EXPECT_EQ(best({10, 10, 10}, {10.5, 10.5, 10.5}), usual);
    EXPECT_EQ(best({10, 10, 10}, {90, 9, 9}), usual) << "one lucky round";
    EXPECT_EQ(best({2, 2, 12}, {3, 3, 3}), other) << "round by round, not median by median";
    const std::vector<LimitProbe::Variant> unknown{{usual, {}, {10}}, {"nothing", {}, {20}}};
    EXPECT_EQ(&best_kernels(unknown), &default_kernels());
}

TEST(Limits, Names) {
    for (int i = 0; i < 8; ++i) {
        auto kind = static_cast<LimitKind>(i);
        EXPECT_EQ(limit_kind_of(name_of(kind)), kind);
    }
    EXPECT_EQ(limit_kind_of("X"), std::nullopt);
    EXPECT_DOUBLE_EQ(median_of({3, 1, 2}), 2);
    EXPECT_DOUBLE_EQ(median_of({4, 1, 2, 3}), 2.5);
    EXPECT_DOUBLE_EQ(median_of({}), 0);
}

}  // namespace
}  // namespace wsync
