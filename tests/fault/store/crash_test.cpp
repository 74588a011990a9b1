// Power cuts and kills: after any of them a reader finds the old version or the new one, never a mixture.
#include "crash_fixture.hpp"

#include <csignal>
#include <random>
#include <sys/wait.h>

namespace wsync {
namespace {

using namespace testing;

struct Crashes : CrashFixture {
    // Small, so that thousands of outcomes can be laid out and read.
    Crashes() : small({{"a", DType::f32, {3000}}, {"b", DType::bf16, {100, 7}}, {"c", DType::u8, {5}}}) {}

    void record(std::uint64_t number, bool recycle, unsigned keep, std::vector<RecordedOperation>& operations) {
        RecordingFileSystem recording(*files);
        auto o = options(number);
        o.recycle = recycle;
        o.keep = keep;
        o.shard_bytes = 10'000;
        small.fill(number);
        ASSERT_OK(write_version(recording, o, small.content()));
        operations = std::move(recording.operations);
    }
    BlockDigests digests_of(std::uint64_t number) override {
        small.fill(number);
        return digest_shards(small.layout, 0, small.placement, small.regions, default_kernels(), 1).value();
    }
    void every_prefix(std::uint64_t number, bool recycle, unsigned keep) {
        CrashDisk disk(directory.path());
        const std::uint64_t before = number - 1;
        std::vector<RecordedOperation> operations;
        ASSERT_NO_FATAL_FAILURE(record(number, recycle, keep, operations));
        ASSERT_GT(operations.size(), 15u);
        for (std::size_t n = 0; n <= operations.size(); ++n) {
            if (n > 0) disk.replay(operations[n - 1]);
            SCOPED_TRACE("after operation " + std::to_string(n) + " of " + std::to_string(operations.size()));
            ASSERT_NO_FATAL_FAILURE(at_every_outcome(disk, [&](const std::string& root, const std::vector<std::uint64_t>& numbers) {
                const auto latest = numbers.empty() ? 0 : numbers.back();
                ASSERT_TRUE(latest == before || latest == number) << latest;
                if (n == operations.size()) {
                    ASSERT_EQ(latest, number) << "what returned as written is durable";
                }
                if (n % 5 == 0) {
                    ASSERT_NO_FATAL_FAILURE(next_writer_is_not_disturbed(root, number + 1, recycle, keep));
                }
            }));
        }
    }
    void next_writer_is_not_disturbed(const std::string& root, std::uint64_t number, bool recycle, unsigned keep) {
        auto o = options(number);
        o.root = root;
        o.recycle = recycle;
        o.shard_bytes = 10'000;
        o.keep = keep;
        small.fill(number);
        ASSERT_OK(write_version(*files, o, small.content()));
        std::vector<std::uint64_t> numbers;
        ASSERT_NO_FATAL_FAILURE(expect_whole(root, numbers));
        ASSERT_EQ(numbers.back(), number);
    }

    Weights small;
};

TEST_F(Crashes, AtEveryOperationOfTheFirstVersion) { every_prefix(1, false, 2); }

TEST_F(Crashes, AtEveryOperationOfALaterVersionThatRetiresAnOlderOne) {
    std::vector<RecordedOperation> ignored;
    record(1, false, 1, ignored);
    every_prefix(2, false, 1);
    every_prefix(3, false, 1);
}

TEST_F(Crashes, AtEveryOperationOfAVersionInRecycledFiles) {
    std::vector<RecordedOperation> ignored;
    for (std::uint64_t n = 1; n <= 3; ++n) record(n, true, 1, ignored);
    every_prefix(4, true, 1);
    every_prefix(5, true, 1);
}

// Nothing but what the writers synced themselves lies between one version and the next: the second uses the files that the
// first retired.
TEST_F(Crashes, AtEveryOperationOfTwoVersionsInARow) {
    std::vector<RecordedOperation> ignored;
    for (std::uint64_t n = 1; n <= 3; ++n) record(n, true, 1, ignored);
    CrashDisk disk(directory.path());
    std::uint64_t durable = 3;
    for (const std::uint64_t number : {4u, 5u, 6u}) {
        std::vector<RecordedOperation> operations;
        ASSERT_NO_FATAL_FAILURE(record(number, true, 1, operations));
        for (const RecordedOperation& operation : operations) {
            disk.replay(operation);
            ASSERT_NO_FATAL_FAILURE(at_every_outcome(disk, [&](const std::string&, const std::vector<std::uint64_t>& numbers) {
                ASSERT_FALSE(numbers.empty());
                ASSERT_GE(numbers.back(), durable) << "version " << number;
            }));
        }
        durable = number;
    }
}

// The double itself: without the syncs the same check must find mixtures, or it proves nothing.
TEST_F(Crashes, TheDiskModelFindsMissingSyncs) {
    std::vector<RecordedOperation> operations;
    for (std::uint64_t n = 1; n <= 3; ++n) record(n, true, 1, operations);
    CrashDisk disk(directory.path());
    record(4, true, 1, operations);
    EXPECT_GT(count_broken(disk, operations, [](std::size_t, const RecordedOperation& operation) { return syncs_weights(operation); }), 0);
}

TEST_F(Crashes, AKilledWriterLeavesWholeVersionsOnly) {
    std::mt19937 random(12345);
    std::uint64_t last = 0;
    for (int round = 0; round < 25; ++round) {
        int ready[2];
        ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            // The child has a transport and a file system of its own; it writes until it is killed.
            const auto own_transport = make_file_transport({}).value();
            const auto own = make_file_system(own_transport.get());
            for (std::uint64_t n = last + 1;; ++n) {
                auto o = options(n);
                o.recycle = true;
                weights.fill(n);
                if (!write_version(*own, o, weights.content())) ::_exit(1);
                const char byte = 1;
                if (::write(ready[1], &byte, 1) != 1) ::_exit(2);
            }
        }
        ::close(ready[1]);
        char byte = 0;
        ASSERT_EQ(::read(ready[0], &byte, 1), 1) << "the writer could not write at all";
        ::usleep(static_cast<useconds_t>(random() % 30'000));  // not a synchronisation: any moment is as good
        ASSERT_EQ(::kill(child, SIGKILL), 0);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself with " << WEXITSTATUS(status);
        ::close(ready[0]);
        const auto versions = list_versions(*files, directory.path(), "policy");
        ASSERT_OK(versions);
        ASSERT_FALSE(versions->empty());
        for (const VersionEntry& entry : *versions) {
            ASSERT_OK(verify_version(*files, entry.path));
            EXPECT_TRUE(holds(*open_version(*files, entry.path), entry.number.number));
        }
        ASSERT_GT(versions->back().number.number, last);
        last = versions->back().number.number;
    }
}

}  // namespace
}  // namespace wsync
