// A group's decisions, one by one: who stages, who fails, who dies, who is late, who comes back.
#include "sync/group.hpp"

#include "control/directory/directory_control.hpp"
#include "control/directory/records.hpp"
#include "control/in_process/in_process_control.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"

#include <atomic>
#include <future>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;

constexpr auto kPatience = 20s;

Version version(std::uint64_t number, std::uint64_t epoch = 1) { return {"policy", "run", epoch, number, 10 * number, number - 1, digest_of(as_bytes_of(std::to_string(number)))}; }

std::string text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

bool news(const Version&) { return true; }
bool no_news(const Version&) { return false; }

class Group : public ::testing::Test {
protected:
    std::unique_ptr<GroupMember> member(std::uint32_t rank, std::uint32_t size = 2) { return GroupMember::make(options(rank, size), *control_).value(); }
    static GroupMemberOptions options(std::uint32_t rank, std::uint32_t size) {
        GroupMemberOptions options;
        options.name = "policy";
        options.group = "engines";
        options.rank = rank;
        options.size = size;
        options.id = "engine-" + std::to_string(rank);
        return options;
    }
    static Result<GroupTurn> begin(GroupMember& member, const Version& newest) { return member.begin(newest, news, Deadline::now()); }
    static Status staged(GroupMember& member, const GroupTurn& turn, Deadline deadline = kPatience) {
        bool again = false;
        auto outcome = member.staged(turn, deadline, again);
        EXPECT_FALSE(again);
        return outcome;
    }
    static std::future<Status> staging(GroupMember& member, const GroupTurn& turn) {
        return std::async(std::launch::async, [&member, turn] { return staged(member, turn); });
    }
    GroupRoundRecord record() { return decode_group_round(control_->read(group_round_key("policy", "engines")).value().at(0).value).value(); }
    // Both stage the version, and both may activate it.
    void activate(GroupMember& a, GroupMember& b, const Version& which) {
        const auto turn = begin(a, which).value();
        ASSERT_EQ(begin(b, which).value().round, turn.round);
        auto first = staging(a, turn);
        ASSERT_OK(staged(b, turn));
        ASSERT_OK(first.get());
    }

    std::shared_ptr<Control> control_ = make_in_process_control("");
};

TEST_F(Group, OfOneAsksNobody) {
    const auto alone = member(0, 1);
    for (std::uint64_t number = 1; number < 4; ++number) {
        const auto turn = begin(*alone, version(number));
        ASSERT_OK(turn);
        EXPECT_EQ(turn->round, number);
        EXPECT_EQ(turn->version, version(number));
        EXPECT_OK(staged(*alone, *turn, Deadline::now()));
    }
}

TEST_F(Group, AllStageThenAllMayActivate) {
    const auto a = member(0), b = member(1);
    for (std::uint64_t number = 1; number < 4; ++number) activate(*a, *b, version(number));
    EXPECT_EQ(record().committed, version(3));
    EXPECT_EQ(record().state, GroupState::committed);
}

TEST_F(Group, TheLaterMemberStagesWhatTheFirstOneTries) {
    const auto a = member(0), b = member(1);
    ASSERT_OK(begin(*a, version(1)));
    EXPECT_EQ(begin(*b, version(2)).value().version, version(1)) << "a newer one is seen already";
}

TEST_F(Group, OneThatFailsIsNamedWithItsReason) {
    const auto a = member(0), b = member(1);
    const auto turn = begin(*a, version(1)).value();
    ASSERT_OK(begin(*b, version(1)));
    b->failed(turn, {Code::corrupt, "tensor embed differs", {"verifying"}});
    EXPECT_THAT(staged(*a, turn), HasError(Code::unavailable, "rank 1 (engine-1) could not stage it: corrupt: tensor embed differs, while verifying"));
    // Whoever has the others' reason already does not get another one.
    a->failed(turn, {Code::io_error, "something else", {}});
    EXPECT_THAT(staged(*b, turn), HasError(Code::unavailable, "tensor embed differs"));
    activate(*a, *b, version(1));
}

TEST_F(Group, AVersionThatWasRecycledIsGivenUpForANewerOne) {
    const auto a = member(0), b = member(1);
    const auto turn = begin(*a, version(1)).value();
    ASSERT_OK(begin(*b, version(1)));
    b->failed(turn, {Code::unavailable, "version 1 was recycled", {}});
    bool again = false;
    EXPECT_THAT(a->staged(turn, kPatience, again), HasError(Code::unavailable, "was recycled"));
    EXPECT_TRUE(again);
    activate(*a, *b, version(2));
}

TEST_F(Group, WhoIsLateIsNamed) {
    const auto a = member(0, 3), b = member(1, 3);
    auto turn = begin(*a, version(1)).value();
    ASSERT_OK(begin(*b, version(1)));
    const auto late = staged(*a, turn, Deadline::now());
    EXPECT_THAT(late, HasError(Code::timed_out, "rank 1 (engine-1) has not staged it yet, rank 2 is not there when the deadline of rank 0 passed"));
    // For the one that comes later it is too late.
    EXPECT_THAT(staged(*b, turn), HasError(Code::timed_out, "the deadline of rank 0 passed"));
    turn = begin(*b, version(1)).value();
    EXPECT_EQ(turn.round, 2u);
    EXPECT_THAT(staged(*b, turn, Deadline::now()), HasError(Code::timed_out, "rank 0 (engine-0) does not ask for a version"));
}

TEST_F(Group, WhoIsInterruptedSaysSo) {
    const auto a = member(0), b = member(1);
    const auto turn = begin(*a, version(1)).value();
    ASSERT_OK(begin(*b, version(1)));
    const std::atomic<bool> interrupted{true};
    EXPECT_THAT(staged(*a, turn, Deadline(kPatience).unless(interrupted)), HasError(Code::timed_out, "rank 0 (engine-0) was interrupted"));
    EXPECT_THAT(staged(*b, turn), HasError(Code::timed_out, "was interrupted"));
}

TEST_F(Group, ThereIsOneDecisionWhateverTheDeadline) {
    const auto a = member(0), b = member(1);
    const auto turn = begin(*a, version(1)).value();
    ASSERT_OK(begin(*b, version(1)));
    auto second = staging(*b, turn);
    const auto key = group_member_key("policy", "engines", 1);
    while (decode_group_member(control_->read(key).value().at(0).value).value().state != MemberState::staged) std::this_thread::yield();
    EXPECT_OK(staged(*a, turn, Deadline::now())) << "all are ready: a deadline that passed changes nothing";
    EXPECT_OK(second.get());
}

TEST_F(Group, OneThatDiesIsSeenAtOnce) {
    const auto a = member(0);
    auto b = member(1);
    ASSERT_OK(begin(*b, version(1)));
    const auto turn = begin(*a, version(1)).value();
    b.reset();
    EXPECT_THAT(staged(*a, turn), HasError(Code::peer_lost, "engine-1) died while it staged"));
    b = member(1);
    activate(*a, *b, version(1));
}

TEST_F(Group, WhoLooksLateLearnsWhatWasDecided) {
    const auto a = member(0), b = member(1);
    const auto turn = begin(*a, version(1)).value();
    ASSERT_OK(begin(*b, version(1)));
    // The second one has said that it staged, and then looks elsewhere while the first one goes on.
    GroupMemberRecord said{1, 2, current_process().value(), "engine-1", turn.round, MemberState::staged};
    ASSERT_OK(control_->put(group_member_key("policy", "engines", 1), encode(said), nullptr));
    ASSERT_OK(staged(*a, turn));
    const auto next = begin(*a, version(2)).value();
    EXPECT_EQ(next.round, 2u);
    EXPECT_OK(staged(*b, turn));
}

TEST_F(Group, WhoComesBackGetsWhatTheOthersHave) {
    const auto a = member(0);
    auto b = member(1);
    activate(*a, *b, version(1));
    b.reset();
    b = member(1);
    const auto turn = begin(*b, version(1));
    ASSERT_OK(turn);
    EXPECT_TRUE(turn->decided);
    EXPECT_EQ(turn->version, version(1));
    // What is newer is for all of them again; also of a trainer that began anew.
    const auto newer = begin(*b, version(1, 2));
    ASSERT_OK(newer);
    EXPECT_FALSE(newer->decided);
    EXPECT_EQ(newer->round, 2u);
}

TEST_F(Group, ARoundThatNobodyEndedIsInNobodysWay) {
    auto gone = member(0);
    ASSERT_OK(begin(*gone, version(1)));
    gone.reset();
    const auto a = member(0);
    const auto turn = a->begin(version(2), no_news, Deadline::now());
    ASSERT_OK(turn);
    EXPECT_EQ(turn->round, 2u);
    EXPECT_EQ(turn->version, version(2));
}

TEST_F(Group, ClaimsThatMakeNoSense) {
    EXPECT_THAT(GroupMember::make(options(2, 2), *control_), HasError(Code::invalid_argument, "rank 2 of a group of 2"));
    EXPECT_THAT(GroupMember::make(options(0, 0), *control_), HasCode(Code::invalid_argument));
    auto unnamed = options(0, 1);
    unnamed.group = "../x";
    EXPECT_THAT(GroupMember::make(unnamed, *control_), HasError(Code::invalid_argument, "\"../x\" is no name for a group"));
    const auto a = member(0);
    ASSERT_OK(begin(*a, version(1)));
    EXPECT_THAT(begin(*member(1, 3), version(1)), HasError(Code::invalid_argument, "has 2 members, rank 1 says 3"));
    EXPECT_THAT(begin(*member(0), version(1)), HasError(Code::unavailable, "give each receiver a rank of its own"));
}

TEST_F(Group, RecordsThatCantBeReadAreNamed) {
    const auto a = member(0);
    const Bytes junk(7);
    ASSERT_OK(control_->put(group_round_key("policy", "engines"), junk, nullptr));
    EXPECT_THAT(begin(*a, version(1)), HasError(Code::corrupt, "@group/policy/engines/round"));
    ASSERT_OK(control_->remove(group_round_key("policy", "engines")));
    const auto turn = begin(*a, version(1)).value();
    ASSERT_OK(control_->put(group_member_key("policy", "engines", 1), junk, nullptr));
    EXPECT_THAT(staged(*a, turn), HasError(Code::corrupt, "@group/policy/engines/member/1"));
    EXPECT_EQ(record().state, GroupState::aborted);
    ASSERT_OK(control_->remove(group_member_key("policy", "engines", 1)));
    ASSERT_OK(control_->remove(group_round_key("policy", "engines")));
    EXPECT_THAT(staged(*a, turn), HasError(Code::unavailable, "was removed")) << "nobody can tell any more";
}

// A member on another host, whose lease nobody renews, as this process's clock has it.
TEST(GroupLease, AMemberWhoseLeaseRanOutIsLost) {
    const testing::TemporaryDirectory folder;
    std::atomic<std::int64_t> now{std::chrono::nanoseconds(1h).count()};
    DirectoryOptions directory;
    directory.path = folder.path();
    directory.clock = [&] { return Deadline::clock::time_point(std::chrono::nanoseconds(now)); };
    const auto control = open_directory_control(directory).value();
    const ProcessIdentity elsewhere{"another-boot", "node-9", 1, 4711, 99};
    const GroupMemberRecord theirs{1, 2, elsewhere, "engine-1", 1, MemberState::staged};
    const auto key = group_member_key("policy", "engines", 1);
    ASSERT_OK(control->put(key, encode(theirs), nullptr));
    const LeaseRecord lease{"0123456789abcdef0123456789abcdef", elsewhere, static_cast<std::uint64_t>(std::chrono::nanoseconds(5s).count()), 1};
    std::filesystem::create_directory(folder / "leases");
    testing::write_whole_file(folder / ("leases/" + lease.id), text_of(encode(lease)));
    testing::write_whole_file(folder / ("values/" + key + ",value"), text_of(encode(ValueRecord{key, 1, lease.id, encode(theirs)})));

    GroupMemberOptions options;
    options.name = "policy";
    options.group = "engines";
    options.size = 2;
    const auto a = GroupMember::make(options, *control).value();
    const auto turn = a->begin(version(1), news, Deadline::now());
    ASSERT_OK(turn);
    now += std::chrono::nanoseconds(6s).count();
    bool again = false;
    EXPECT_THAT(a->staged(*turn, kPatience, again), HasError(Code::peer_lost, "rank 1 (node-9 pid 4711, engine-1) died while it staged, or its lease ended"));
}

}  // namespace
}  // namespace wsync
