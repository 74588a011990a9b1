// Power cuts and kills while several ranks write one version: a reader finds the old version or the new one, whole.
#include "crash_fixture.hpp"
#include "doubles/failing_file_system.hpp"
#include "group_fixture.hpp"

#include <csignal>
#include <random>
#include <sys/wait.h>
#include <thread>

namespace wsync {
namespace {

using namespace testing;

// Small, so that thousands of outcomes can be laid out and read.
struct GroupCrashes : CrashFixture {
    GroupCrashes() {
        const auto model = Manifest::make({{"a", DType::f32, {3000}}, {"b", DType::bf16, {90, 70}}, {"c", DType::u8, {5}}, {"d", DType::f32, {6, 100}}}).value();
        // Rows of a, columns of b, c on one rank, d on two of them.
        std::vector<Shard> shards{{0, 0, {{0}, {1000}}},      {1, 0, {{1000}, {1500}}},    {2, 0, {{2500}, {500}}}, {0, 1, {{0, 0}, {90, 30}}},
                                  {1, 1, {{0, 30}, {90, 39}}}, {2, 1, {{0, 69}, {90, 1}}}, {1, 2, {{0}, {5}}},      {0, 3, {{0, 0}, {6, 100}}},
                                  {2, 3, {{0, 0}, {6, 100}}}};
        layout = Layout::make(model, 3, shards, Coverage::full).value();
    }
    WriteVersionOptions group_options(std::uint64_t number, bool recycle) const {
        auto o = options(number);
        o.recycle = recycle;
        o.keep = 1;
        o.shard_bytes = 13'000;
        return o;
    }
    // One version of all ranks, in this order or all at once; the version before goes.
    void write_version_of(std::uint64_t number, bool recycle, FileSystem& through, std::vector<std::uint32_t> order) {
        Group group(through, layout, "g" + std::to_string(number));
        const auto o = group_options(number, recycle);
        if (order.empty()) {
            std::vector<std::thread> threads;
            for (std::uint32_t rank = 0; rank < 3; ++rank) {
                threads.emplace_back([&, rank] {
                    EXPECT_OK(group.write(rank, o, number));
                    EXPECT_OK(group.writers[rank]->commit({}, {}, std::chrono::seconds(10)));
                });
            }
            for (auto& thread : threads) thread.join();
        } else {
            for (const std::uint32_t rank : order) ASSERT_OK(group.write(rank, o, number));
            ASSERT_OK(group.commit(order.front()));
        }
        group.writers.clear();
        ASSERT_OK(retire_versions(through, directory / "policy", 1, recycle));
    }
    // Of the boxes, made anew from the weights' definition.
    BlockDigests digests_of(std::uint64_t value) override {
        auto [known, fresh] = known_.try_emplace(value);
        if (!fresh) return known->second;
        std::vector<Shard> distinct;
        for (const Shard& shard : layout.shards()) {
            const bool again = std::any_of(distinct.begin(), distinct.end(), [&](const Shard& s) { return s.tensor == shard.tensor && s.box == shard.box; });
            if (!again) distinct.push_back({0, shard.tensor, shard.box});
        }
        const auto boxes = Layout::make(layout.manifest(), 1, distinct, Coverage::full).value();
        RankWeights whole(boxes, 0);
        whole.fill(value);
        return known->second = digest_shards(boxes, 0, whole.placement, whole.regions, default_kernels(), 1).value();
    }
    void every_prefix(std::uint64_t number, bool recycle, const std::vector<std::uint32_t>& order) {
        CrashDisk disk(directory.path());
        RecordingFileSystem recording(*files);
        ASSERT_NO_FATAL_FAILURE(write_version_of(number, recycle, recording, order));
        ASSERT_GT(recording.operations.size(), 30u);
        for (std::size_t n = 0; n <= recording.operations.size(); ++n) {
            if (n > 0) disk.replay(recording.operations[n - 1]);
            SCOPED_TRACE("after operation " + std::to_string(n) + " of " + std::to_string(recording.operations.size()));
            ASSERT_NO_FATAL_FAILURE(at_every_outcome(disk, [&](const std::string& root, const std::vector<std::uint64_t>& numbers) {
                const auto latest = numbers.empty() ? 0 : numbers.back();
                ASSERT_TRUE(latest == number - 1 || latest == number) << latest;
                if (n == recording.operations.size()) {
                    ASSERT_EQ(latest, number) << "what was made visible is durable";
                }
                if (n % 7 == 0) {
                    ASSERT_NO_FATAL_FAILURE(next_group_is_not_disturbed(root, number + 1, recycle));
                }
            }));
        }
    }
    // What is left of a crash goes, or is used again, with the next version.
    void next_group_is_not_disturbed(const std::string& root, std::uint64_t number, bool recycle) {
        Group group(*files, layout, "next");
        auto o = group_options(number, recycle);
        o.root = root;
        for (const std::uint32_t rank : {1u, 0u, 2u}) ASSERT_OK(group.write(rank, o, number));
        ASSERT_OK(group.commit(1));
        group.writers.clear();
        ASSERT_OK(retire_versions(*files, root + "/policy", 1, recycle));
        std::vector<std::uint64_t> numbers;
        ASSERT_NO_FATAL_FAILURE(expect_whole(root, numbers));
        ASSERT_EQ(numbers, std::vector{number});
        std::size_t aside = 0;
        for (const auto& name : entry_names(root + "/policy")) aside += name.starts_with(kWritingPrefix) ? 1 : 0;
        ASSERT_LE(aside, recycle ? 1u : 0u);
    }

    Layout layout;
    std::map<std::uint64_t, BlockDigests> known_;
};

TEST_F(GroupCrashes, AtEveryOperationOfTheFirstVersion) { every_prefix(1, false, {0, 1, 2}); }

TEST_F(GroupCrashes, AtEveryOperationOfALaterVersion) {
    ASSERT_NO_FATAL_FAILURE(write_version_of(1, false, *files, {0, 1, 2}));
    every_prefix(2, false, {2, 0, 1});
}

TEST_F(GroupCrashes, AtEveryOperationOfAVersionInRecycledFiles) {
    for (std::uint64_t n = 1; n <= 3; ++n) ASSERT_NO_FATAL_FAILURE(write_version_of(n, true, *files, {0, 1, 2}));
    every_prefix(4, true, {1, 2, 0});
}

TEST_F(GroupCrashes, AtEveryOperationWhileAllWriteAtOnce) {
    for (std::uint64_t n = 1; n <= 2; ++n) ASSERT_NO_FATAL_FAILURE(write_version_of(n, true, *files, {0, 1, 2}));
    every_prefix(3, true, {});
    every_prefix(4, true, {});
}

// The double itself: without one rank's syncs the same check must find mixtures, or it proves nothing.
TEST_F(GroupCrashes, TheDiskModelFindsOneRanksMissingSyncs) {
    for (std::uint64_t n = 1; n <= 3; ++n) ASSERT_NO_FATAL_FAILURE(write_version_of(n, true, *files, {0, 1, 2}));
    CrashDisk disk(directory.path());
    RecordingFileSystem recording(*files);
    ASSERT_NO_FATAL_FAILURE(write_version_of(4, true, recording, {0, 1, 2}));
    std::size_t last_write = 0;
    for (std::size_t i = 0; i < recording.operations.size(); ++i) {
        if (recording.operations[i].kind == RecordedOperation::Kind::write && recording.operations[i].path.ends_with(".safetensors")) last_write = i;
    }
    EXPECT_GT(count_broken(disk, recording.operations, [&](std::size_t i, const RecordedOperation& operation) { return i > last_write && syncs_weights(operation); }), 0);
}

// One rank's disk fails at each of its operations: nothing half is seen, and its next try makes the version whole.
TEST_F(GroupCrashes, AnErrorAtEachOperationOfOneRank) {
    using How = FailingFileSystem::How;
    std::uint64_t number = 0;
    for (const How how : {How::no_space, How::io_error, How::half}) {
        for (int at = 0;; ++at) {
            SCOPED_TRACE(at);
            const std::string name = "g" + std::to_string(++number);
            const auto o = group_options(number, at % 2 == 0);
            FailingFileSystem failing(*files, at, how);
            Group group(*files, layout, name);
            group.writers[1] = std::make_unique<GroupVersionWriter>(failing, name);
            ASSERT_OK(group.write(0, o, number));
            const auto written = group.write(1, o, number);
            ASSERT_OK(group.write(2, o, number));
            const Status visible = [&]() -> Status {
                if (!written) return written.error();
                auto committed = group.commit(1);
                return committed ? Status{} : Status{committed.error()};
            }();
            std::vector<std::uint64_t> numbers;
            ASSERT_NO_FATAL_FAILURE(expect_whole(directory.path(), numbers));
            const bool seen = !numbers.empty() && numbers.back() == number;
            if (visible) {
                ASSERT_TRUE(seen);
            } else {
                EXPECT_THAT(visible.error().code, ::testing::AnyOf(Code::resource_exhausted, Code::io_error, Code::corrupt)) << visible.error().to_string();
            }
            if (!seen) {
                group.writers[1] = std::make_unique<GroupVersionWriter>(*files, name);
                ASSERT_OK(group.write(1, o, number));
                ASSERT_OK(group.commit(0));
                ASSERT_NO_FATAL_FAILURE(expect_whole(directory.path(), numbers));
                ASSERT_EQ(numbers.back(), number);
            }
            group.writers.clear();
            ASSERT_OK(retire_versions(*files, directory / "policy", 1, at % 2 == 0));
            if (!failing.failed()) {
                EXPECT_GT(at, 25);
                break;
            }
        }
    }
}

// Three processes write version after version; one of them dies at any moment, then the others go.
TEST_F(GroupCrashes, AKilledRankLeavesWholeVersionsOnly) {
    std::mt19937 random(54321);
    std::uint64_t last = 0;
    for (int round = 0; round < 8; ++round) {
        int ready[2];
        ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
        std::vector<pid_t> children;
        for (std::uint32_t rank = 0; rank < 3; ++rank) {
            children.push_back(::fork());
            ASSERT_GE(children.back(), 0);
            if (children.back() > 0) continue;
            const auto own_transport = make_file_transport({}).value();
            const auto own = make_file_system(own_transport.get());
            RankWeights weights_of_rank(layout, rank);
            GroupVersionWriter writer(*own, "round" + std::to_string(round));
            for (std::uint64_t n = last + 1;; ++n) {
                weights_of_rank.fill(n);
                auto o = group_options(n, true);
                if (!writer.write(o, weights_of_rank.content())) ::_exit(1);
                // Whoever finds all parts makes it visible; a dead rank's never comes.
                if (!writer.commit({}, {}, std::chrono::seconds(2))) ::_exit(2);
                const char byte = 1;
                if (::write(ready[1], &byte, 1) != 1) ::_exit(3);
            }
        }
        ::close(ready[1]);
        char byte = 0;
        ASSERT_EQ(::read(ready[0], &byte, 1), 1) << "the ranks could not write at all";
        ::usleep(static_cast<useconds_t>(random() % 30'000));  // not a synchronisation: any moment is as good
        ASSERT_EQ(::kill(children[random() % 3], SIGKILL), 0);
        ::usleep(static_cast<useconds_t>(random() % 5'000));
        for (const pid_t child : children) {
            ASSERT_EQ(::kill(child, SIGKILL), 0);
            ASSERT_EQ(::waitpid(child, nullptr, 0), child);
        }
        ::close(ready[0]);
        std::vector<std::uint64_t> numbers;
        ASSERT_NO_FATAL_FAILURE(expect_whole(directory.path(), numbers));
        ASSERT_FALSE(numbers.empty());
        ASSERT_GT(numbers.back(), last);
        last = numbers.back();
        ASSERT_NO_FATAL_FAILURE(next_group_is_not_disturbed(directory.path(), ++last, true));
    }
}

}  // namespace
}  // namespace wsync
