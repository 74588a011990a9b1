#include "control/directory/lease_judge.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;

// The clock of the judge; no test here waits for time to pass.
class LeaseJudging : public ::testing::Test {
protected:
    std::string foreign_lease(std::uint64_t counter) {
        LeaseRecord record{"lease-1", current_process().value(), std::uint64_t{5'000'000'000}, counter};
        record.owner.boot_id = "another machine";  // its liveness is unknown here
        EXPECT_OK(folder_.write_file(lease_path(record.id), encode(record)));
        return record.id;
    }
    bool ended(const std::string& id) { return judge_.has_ended(id).value(); }

    testing::TemporaryDirectory scratch_;
    Folder folder_ = Folder::open(scratch_ / "control").value();
    Deadline::clock::time_point now_{};
    LeaseKeeper keeper_{folder_};
    LeaseJudge judge_{folder_, keeper_, [this] { return now_; }};
};

TEST_F(LeaseJudging, a_counter_that_stands_still_for_the_time_to_live_ends_it) {
    const auto id = foreign_lease(1);
    EXPECT_FALSE(ended(id));
    now_ += 5s - 1ns;
    EXPECT_FALSE(ended(id));
    now_ += 1ns;
    EXPECT_TRUE(ended(id));
}

TEST_F(LeaseJudging, a_counter_that_moves_keeps_it) {
    std::string id;
    for (std::uint64_t counter = 1; counter < 10; ++counter) {
        id = foreign_lease(counter);
        EXPECT_FALSE(ended(id));
        now_ += 4s;
        EXPECT_FALSE(ended(id));
    }
    now_ += 5s;
    EXPECT_TRUE(ended(id));
}

TEST_F(LeaseJudging, the_time_counts_from_when_the_judge_first_looked) {
    const auto id = foreign_lease(1);
    now_ += 1h;
    EXPECT_FALSE(ended(id));
}

TEST_F(LeaseJudging, an_end_is_an_end_for_everybody) {
    const auto id = foreign_lease(1);
    EXPECT_FALSE(ended(id));
    now_ += 5s;
    EXPECT_TRUE(ended(id));
    LeaseJudge other(folder_, keeper_, [this] { return now_; });
    EXPECT_TRUE(other.has_ended(id).value());
    EXPECT_FALSE(std::filesystem::exists(folder_.path_of(lease_path(id))));
}

TEST_F(LeaseJudging, a_lease_without_a_file_has_ended) { EXPECT_TRUE(ended("never-was")); }

TEST_F(LeaseJudging, own_leases_are_renewed_and_not_judged) {
    const auto id = keeper_.open(30ms).value();
    const auto counter = [&] {
        const auto bytes = folder_.read_file(lease_path(id), kMaxLeaseFileBytes).value().value_or(Bytes{});
        const auto record = decode_lease(bytes, "lease").value();
        return record ? record->counter : 0;
    };
    for (const Deadline limit = 20s; counter() < 3 && !limit.expired();) std::this_thread::yield();
    EXPECT_GE(counter(), 3u);
    now_ += 1h;
    EXPECT_FALSE(ended(id));
    EXPECT_OK(keeper_.check(id));
    keeper_.end(id);
    EXPECT_TRUE(ended(id));
    EXPECT_THAT(keeper_.check(id), HasCode(Code::invalid_argument));
}

TEST_F(LeaseJudging, an_owner_notices_that_its_lease_was_removed) {
    const auto id = keeper_.open(1h).value();
    ASSERT_OK(keeper_.check(id));
    std::filesystem::remove(folder_.path_of(lease_path(id)));
    EXPECT_THAT(keeper_.check(id), HasCode(Code::unavailable));
    const auto brief = keeper_.open(30ms).value();
    std::filesystem::remove(folder_.path_of(lease_path(brief)));
    for (const Deadline limit = 20s; keeper_.owns(brief) && !limit.expired();) std::this_thread::yield();
    EXPECT_FALSE(keeper_.owns(brief));
}

}  // namespace
}  // namespace wsync
