// Receivers in a group, each a process: all of them serve the new version, or each still serves the old one.
#include "actors.hpp"
#include "control/directory/records.hpp"
#include "sync/group_records.hpp"
#include "transport/fault/fault_transport.hpp"

#include <csignal>
#include <memory>
#include <thread>

namespace wsync {
namespace {

using namespace wsync::testing;

constexpr std::uint32_t kMembers = 3;

class Groups : public ::testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        ASSERT_OK(trainer_.open());
        for (std::uint32_t rank = 0; rank < kMembers; ++rank) members_.push_back(member(rank));
    }
    std::unique_ptr<ReceiverProcess> member(std::uint32_t rank, double bytes_per_second = 0, std::vector<std::uint64_t> corrupt_at = {}) {
        ReceiverSetup setup{.use = Use::copy, .transport = GetParam(), .receiver = {}, .session = {}};
        setup.receiver = [=](ReceiverOptions& options) {
            options.group = ReceiverGroup{.name = "engines", .rank = rank, .size = kMembers};
            options.budget.bytes_per_second = bytes_per_second;
        };
        if (!corrupt_at.empty()) {
            setup.session = [=](SessionOptions& options) {
                options.decorate = [=](std::unique_ptr<Transport> inner) {
                    FaultPolicy policy;
                    policy.corrupt.at = corrupt_at;
                    return make_fault_transport(std::move(inner), policy);
                };
            };
        }
        return std::make_unique<ReceiverProcess>(place_, std::move(setup));
    }
    void step(std::uint64_t value) { ASSERT_OK(trainer_.step(value, value)); }
    void begin_all(std::chrono::milliseconds deadline = 15s) {
        for (auto& one : members_) one->begin_sync(deadline);
    }
    // All of them sync, and serve `value`.
    void sync_all(std::uint64_t value) {
        begin_all();
        for (auto& one : members_) ASSERT_OK(one->answer());
        expect_all_serve(value);
    }
    void expect_all_serve(std::uint64_t value, std::optional<std::uint32_t> but = {}) {
        for (std::uint32_t rank = 0; rank < kMembers; ++rank) {
            if (rank == but) continue;
            EXPECT_OK(members_[rank]->serves(value)) << "rank " << rank;
            EXPECT_OK(members_[rank]->health());
        }
    }
    // How far a member is, by its record: what the other members know of it.
    [[nodiscard]] Result<GroupMemberRecord> record_of(std::uint32_t rank) {
        const auto path = place_.control.substr(4) + "/values/" + group_member_key("policy", "engines", rank) + ",value";
        const auto text = read_whole_file(path);
        WSYNC_TRY(const auto value, decode_value(as_bytes_of(text), path));
        return decode_group_member(value.value);
    }
    void await_state(std::uint32_t rank, std::uint64_t round, MemberState state) {
        const auto is_there = [&] {
            const auto record = record_of(rank);
            return record && record->round == round && record->state == state;
        };
        for (const Deadline patience(kPatience); !is_there() && !patience.expired();) std::this_thread::sleep_for(1ms);
        ASSERT_TRUE(is_there()) << "rank " << rank;
    }

    Place place_;
    Trainer trainer_{place_};
    std::vector<std::unique_ptr<ReceiverProcess>> members_;
};

TEST_P(Groups, activate_each_version_together) {
    for (std::uint64_t value = 1; value < 6; ++value) {
        step(value);
        sync_all(value);
    }
    // Nothing piles up: one record of the group, and one of each member.
    std::size_t records = 0;
    for (const auto& item : std::filesystem::recursive_directory_iterator(place_.control.substr(4) + "/values/@group")) records += item.is_regular_file() ? 1 : 0;
    EXPECT_EQ(records, 1 + kMembers);
}

TEST_P(Groups, one_that_is_killed_while_it_stages_holds_back_all) {
    members_[2] = member(2, 1.5e6);
    step(1);
    sync_all(1);
    step(2);
    begin_all();
    for (const std::uint32_t rank : {0u, 1u}) await_state(rank, 2, MemberState::staged);
    await_state(2, 2, MemberState::joined);
    members_[2]->process().signal(SIGKILL);
    ASSERT_TRUE(members_[2]->process().join(kPatience));
    for (const std::uint32_t rank : {0u, 1u}) {
        const auto answer = members_[rank]->answer();
        ASSERT_FALSE(answer);
        // Late where it died before any other member had seen it in this round.
        EXPECT_THAT(answer.error().code, ::testing::AnyOf(Code::peer_lost, Code::timed_out)) << answer.error().to_string();
        EXPECT_THAT(answer.error().message, ::testing::HasSubstr("rank 2"));
    }
    expect_all_serve(1, 2);
    // Its successor comes with nothing, and what they have staged need not be moved again.
    members_[2] = member(2);
    sync_all(2);
    step(3);
    sync_all(3);
}

TEST_P(Groups, one_that_comes_back_gets_what_the_others_have) {
    step(1);
    sync_all(1);
    members_[1]->process().signal(SIGKILL);
    ASSERT_TRUE(members_[1]->process().join(kPatience));
    members_[1] = member(1);
    ASSERT_OK(members_[1]->sync());
    expect_all_serve(1);
    step(2);
    sync_all(2);
}

TEST_P(Groups, one_that_gets_a_flipped_byte_holds_back_all) {
    step(1);
    sync_all(1);
    members_[1] = member(1, 0, {1});  // of the first transfer of its successor
    step(2);
    begin_all();
    for (std::uint32_t rank = 0; rank < kMembers; ++rank) {
        const auto answer = members_[rank]->answer();
        if (rank == 1) {
            EXPECT_THAT(answer, HasCode(Code::corrupt));
        } else {
            EXPECT_THAT(answer, HasError(Code::unavailable, "rank 1 ("));
            EXPECT_THAT(answer, HasError(Code::unavailable, "could not stage it: corrupt: "));
        }
    }
    expect_all_serve(1, 1);
    sync_all(2);
}

TEST_P(Groups, one_that_is_stopped_holds_back_all_until_the_first_deadline) {
    step(1);
    sync_all(1);
    step(2);
    members_[0]->process().signal(SIGSTOP);
    for (const std::uint32_t rank : {1u, 2u}) members_[rank]->begin_sync(300ms);
    for (const std::uint32_t rank : {1u, 2u}) {
        EXPECT_THAT(members_[rank]->answer(), HasError(Code::timed_out, "rank 0 ("));
        EXPECT_OK(members_[rank]->serves(1));
    }
    members_[0]->process().signal(SIGCONT);
    sync_all(2);
}

TEST_P(Groups, that_one_leaves_at_any_moment_never_serve_two_versions) {
    constexpr int kMoments = 16;
    std::uint64_t value = 1;
    step(value);
    sync_all(value);
    step(++value);
    const auto begin = Deadline::clock::now();
    sync_all(value);
    const auto whole = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::clock::now() - begin);
    int held_back = 0;
    for (int moment = 0; moment < kMoments; ++moment) {
        SCOPED_TRACE(moment);
        step(++value);
        const std::uint32_t victim = static_cast<std::uint32_t>(moment) % kMembers;
        for (std::uint32_t rank = 0; rank < kMembers; ++rank) {
            members_[rank]->begin_sync(2s, rank == victim ? Json{{"die_us", (whole * moment / kMoments).count()}} : Json{});
        }
        std::vector<bool> activated;
        for (std::uint32_t rank = 0; rank < kMembers; ++rank) {
            if (rank == victim) continue;
            const auto answer = members_[rank]->answer();
            activated.push_back(answer.has_value());
            if (!answer) {
                EXPECT_THAT(answer.error().code, ::testing::AnyOf(Code::peer_lost, Code::timed_out)) << answer.error().to_string();
                EXPECT_THAT(answer.error().message, ::testing::HasSubstr("rank " + std::to_string(victim)));
            }
        }
        EXPECT_EQ(activated[0], activated[1]) << "one of the survivors has it, the other one has not";
        held_back += activated[0] ? 0 : 1;
        expect_all_serve(activated[0] ? value : value - 1, victim);
        (void)members_[victim]->answer();
        members_[victim]->process().signal(SIGKILL);
        ASSERT_TRUE(members_[victim]->process().join(kPatience));
        members_[victim] = member(victim);
        if (activated[0]) {
            ASSERT_OK(members_[victim]->sync());
            expect_all_serve(value);
        } else {
            sync_all(value);
        }
    }
    EXPECT_GT(held_back, 0);
}

INSTANTIATE_TEST_SUITE_P(Transports, Groups, ::testing::Values("shm", "tcp"), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace wsync
