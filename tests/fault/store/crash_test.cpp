// Power cuts and kills: after any of them a reader finds the old version or the new one, never a mixture.
#include "doubles/crash_disk.hpp"
#include "store_fixture.hpp"

#include <csignal>
#include <random>
#include <sys/wait.h>

namespace wsync {
namespace {

using namespace testing;

struct Crashes : StoreFixture {
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
    // Every version that a reader can see under `root` is whole and has exactly the bytes of its number.
    void expect_whole(const std::string& root, std::vector<std::uint64_t>& numbers) {
        numbers.clear();
        const auto versions = list_versions(*files, root, "policy");
        ASSERT_OK(versions);
        for (const VersionEntry& entry : *versions) {
            ASSERT_OK(verify_version(*files, entry.path));
            const auto stored = open_version(*files, entry.path);
            ASSERT_OK(stored);
            small.fill(entry.number.number);
            const auto expected = digest_shards(small.layout, 0, small.placement, small.regions, default_kernels(), 1).value();
            ASSERT_EQ(stored->digests, expected) << entry.path;
            numbers.push_back(entry.number.number);
        }
        if (!numbers.empty()) {
            ASSERT_OK(open_latest_version(*files, root, "policy"));
        }
    }
    void every_prefix(std::uint64_t number, bool recycle, unsigned keep) {
        CrashDisk disk(directory.path());
        const std::uint64_t before = number - 1;
        std::vector<RecordedOperation> operations;
        ASSERT_NO_FATAL_FAILURE(record(number, recycle, keep, operations));
        ASSERT_GT(operations.size(), 15u);
        for (std::size_t n = 0; n <= operations.size(); ++n) {
            if (n > 0) disk.replay(operations[n - 1]);
            for (const auto outcome : {CrashDisk::Outcome::only_synced, CrashDisk::Outcome::names_ahead_of_bytes,
                                       CrashDisk::Outcome::bytes_ahead_of_names, CrashDisk::Outcome::everything}) {
                TemporaryDirectory after("/dev/shm");
                disk.lay_out(outcome, after / "root");
                std::vector<std::uint64_t> numbers;
                ASSERT_NO_FATAL_FAILURE(expect_whole(after / "root", numbers)) << "after operation " << n << " of " << operations.size() << ", outcome "
                                                                               << static_cast<int>(outcome);
                const auto latest = numbers.empty() ? 0 : numbers.back();
                ASSERT_TRUE(latest == before || latest == number) << latest << " after operation " << n;
                // What returned as written is durable.
                if (n == operations.size()) {
                    ASSERT_EQ(latest, number);
                }
                // And the next writer is not disturbed by what is left.
                if (n % 5 == 0) {
                    auto o = options(number + 1);
                    o.root = after / "root";
                    o.recycle = recycle;
                    o.shard_bytes = 10'000;
                    o.keep = keep;
                    small.fill(number + 1);
                    ASSERT_OK(write_version(*files, o, small.content()));
                    ASSERT_NO_FATAL_FAILURE(expect_whole(after / "root", numbers));
                    ASSERT_EQ(numbers.back(), number + 1);
                }
            }
        }
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
            for (const auto outcome : {CrashDisk::Outcome::only_synced, CrashDisk::Outcome::names_ahead_of_bytes,
                                       CrashDisk::Outcome::bytes_ahead_of_names, CrashDisk::Outcome::everything}) {
                TemporaryDirectory after("/dev/shm");
                disk.lay_out(outcome, after / "root");
                std::vector<std::uint64_t> numbers;
                ASSERT_NO_FATAL_FAILURE(expect_whole(after / "root", numbers)) << "version " << number << ", outcome " << static_cast<int>(outcome);
                ASSERT_FALSE(numbers.empty());
                ASSERT_GE(numbers.back(), durable);
            }
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
    int broken = 0;
    for (const RecordedOperation& operation : operations) {
        if (operation.kind == RecordedOperation::Kind::sync && operation.path.ends_with(".safetensors")) continue;
        disk.replay(operation);
        TemporaryDirectory after("/dev/shm");
        disk.lay_out(CrashDisk::Outcome::names_ahead_of_bytes, after / "root");
        const auto versions = list_versions(*files, after / "root", "policy");
        ASSERT_OK(versions);
        for (const VersionEntry& entry : *versions)
            if (!verify_version(*files, entry.path)) ++broken;
    }
    EXPECT_GT(broken, 0);
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
