// What a power cut may leave of versions, and what a reader must find there.
#pragma once

#include "doubles/crash_disk.hpp"
#include "store_fixture.hpp"

namespace wsync::testing {

class CrashFixture : public StoreFixture {
protected:
    // What a version of this number digests to.
    virtual BlockDigests digests_of(std::uint64_t number) = 0;

    // Every version that a reader can see under `root` is whole and has exactly the bytes of its number.
    void expect_whole(const std::string& root, std::vector<std::uint64_t>& numbers) {
        numbers.clear();
        const auto versions = list_versions(*files, root, "policy");
        ASSERT_OK(versions);
        for (const VersionEntry& entry : *versions) {
            ASSERT_OK(verify_version(*files, entry.path));
            const auto stored = open_version(*files, entry.path);
            ASSERT_OK(stored);
            ASSERT_EQ(stored->digests, digests_of(entry.number.number)) << entry.path;
            numbers.push_back(entry.number.number);
        }
        if (!numbers.empty()) {
            ASSERT_OK(open_latest_version(*files, root, "policy"));
        }
    }
    // Calls `check(root, numbers)` for everything that a power cut may leave now, whose versions are whole and have these numbers.
    template <class Check>
    void at_every_outcome(const CrashDisk& disk, const Check& check) {
        for (const auto outcome : CrashDisk::kOutcomes) {
            SCOPED_TRACE("outcome " + std::to_string(static_cast<int>(outcome)));
            const TemporaryDirectory after("/dev/shm");
            disk.lay_out(outcome, after / "root");
            std::vector<std::uint64_t> numbers;
            ASSERT_NO_FATAL_FAILURE(expect_whole(after / "root", numbers));
            ASSERT_NO_FATAL_FAILURE(check(after / "root", numbers));
        }
    }
    // Versions that a reader can see and that are not whole, after each of the operations; those that `skipped` names were not done.
    template <class Skipped>
    int count_broken(CrashDisk& disk, const std::vector<RecordedOperation>& operations, const Skipped& skipped) {
        int broken = 0;
        for (std::size_t i = 0; i < operations.size(); ++i) {
            if (skipped(i, operations[i])) continue;
            disk.replay(operations[i]);
            const TemporaryDirectory after("/dev/shm");
            disk.lay_out(CrashDisk::Outcome::names_ahead_of_bytes, after / "root");
            const auto versions = list_versions(*files, after / "root", "policy").value();
            for (const VersionEntry& entry : versions)
                if (!verify_version(*files, entry.path)) ++broken;
        }
        return broken;
    }
};

inline bool syncs_weights(const RecordedOperation& operation) {
    return operation.kind == RecordedOperation::Kind::sync && operation.path.ends_with(".safetensors");
}

}  // namespace wsync::testing
