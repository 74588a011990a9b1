// The control plane's records, byte for byte. A change here is a change of format: raise its version.
#include "record_checks.hpp"

#include "sync/group_records.hpp"
#include "sync/records.hpp"

#include <numeric>

namespace wsync {
namespace {

using namespace testing;
using BytesView = std::span<const std::byte>;

Bytes golden_sync(const std::string& name) { return golden_record_bytes("sync/" + name + "-1.0.bin"); }

Digest digest(std::uint8_t first) {
    Digest d;
    std::iota(d.bytes.begin(), d.bytes.end(), first);
    return d;
}

EpochRecord epoch() {
    EpochRecord record{3, "run-7", 2, digest(0x30), {}};
    for (std::size_t i = 0; i < record.secret.size(); ++i) record.secret[i] = static_cast<std::byte>(i);
    return record;
}

RankRecord rank() {
    RankRecord record;
    record.process = {"83f622ba-3c0f-4ca3-a34a-a8409beb401f", "node-7", 4026531836, 4711, 123456};
    record.links = {"unix:/run/wsync/link-1", "tcp:10.0.0.7:4711"};
    record.slabs = {{{"shm", {std::byte{1}, std::byte{2}, std::byte{3}}}, {"tcp", {std::byte{4}}}}, {{"shm", {}}}};
    record.layout = digest(0x40);
    record.placement = digest(0x50);
    return record;
}

PublicationRecord publication() { return {17, 170, 1, 34, digest(0x20), 0.25, 1.5, 2.0, "/models/policy/v3.17"}; }
HeadRecord head() { return {{"policy", "run-7", 3, 17, 170, 16, digest(0x10)}}; }

GroupRoundRecord group_round() {
    return {9, GroupState::aborted, head().version, 8, {"policy", "run-7", 3, 16, 160, 15, digest(0x0f)}, GroupCause::lost, 2, "rank 2 (engine-2) died"};
}
GroupMemberRecord group_member() { return {2, 3, rank().process, "engine-2", 9, MemberState::staged}; }

// Encodes to the golden bytes, which decode to what encodes to them again; and the rules of every record hold.
template <class Record, class Decode>
void golden_record(const std::string& name, const Record& record, Decode decode) {
    const auto bytes = golden_sync(name);
    expect_golden("sync/" + name + "-1.0.bin", encode(record));
    const auto back = decode(BytesView(bytes));
    ASSERT_OK(back);
    EXPECT_EQ(encode(*back), bytes);
    refuses_another_length(bytes, decode);
    follows_the_version_rule(bytes, 0, decode);
    const std::size_t minors[] = {0};
    survives_every_change(bytes, decode, [](const Record& r) { return encode(r); }, minors);
}

TEST(RecordsGolden, Epoch) {
    golden_record("epoch", epoch(), decode_epoch);
    const auto back = decode_epoch(golden_sync("epoch")).value();
    EXPECT_EQ(back.epoch, 3u);
    EXPECT_EQ(back.run, "run-7");
    EXPECT_EQ(back.world, 2u);
    EXPECT_EQ(back.layout, epoch().layout);
    EXPECT_EQ(back.secret, epoch().secret);
}

TEST(RecordsGolden, Rank) {
    golden_record("rank", rank(), decode_rank);
    const auto back = decode_rank(golden_sync("rank")).value();
    EXPECT_EQ(back.process, rank().process);
    EXPECT_EQ(back.links, rank().links);
    ASSERT_EQ(back.slabs.size(), 2u);
    ASSERT_EQ(back.slabs[0].size(), 2u);
    EXPECT_EQ(back.slabs[0][1].transport, "tcp");
    EXPECT_EQ(back.slabs[0][0].bytes, rank().slabs[0][0].bytes);
    EXPECT_EQ(back.placement, rank().placement);
}

TEST(RecordsGolden, Publication) {
    golden_record("publication", publication(), decode_publication);
    const auto back = decode_publication(golden_sync("publication")).value();
    EXPECT_EQ(back.number, 17u);
    EXPECT_EQ(back.step, 170u);
    EXPECT_EQ(back.slab, 1u);
    EXPECT_EQ(back.generation, 34u);
    EXPECT_EQ(back.digests, publication().digests);
    EXPECT_EQ(back.prepare_seconds, 0.25);
    EXPECT_EQ(back.store_seconds, 1.5);
    EXPECT_EQ(back.blocked_seconds, 2.0);
    EXPECT_EQ(back.directory, "/models/policy/v3.17");
}

TEST(RecordsGolden, Head) {
    golden_record("head", head(), decode_head);
    EXPECT_EQ(decode_head(golden_sync("head")).value().version, head().version);
}

TEST(RecordsGolden, GroupRound) {
    golden_record("group-round", group_round(), decode_group_round);
    const auto back = decode_group_round(golden_sync("group-round")).value();
    EXPECT_EQ(back.round, 9u);
    EXPECT_EQ(back.state, GroupState::aborted);
    EXPECT_EQ(back.version, head().version);
    EXPECT_EQ(back.committed_round, 8u);
    EXPECT_EQ(back.committed, group_round().committed);
    EXPECT_EQ(back.cause, GroupCause::lost);
    EXPECT_EQ(back.rank, 2u);
    EXPECT_EQ(back.reason, "rank 2 (engine-2) died");
}

TEST(RecordsGolden, GroupMember) {
    golden_record("group-member", group_member(), decode_group_member);
    const auto back = decode_group_member(golden_sync("group-member")).value();
    EXPECT_EQ(back.rank, 2u);
    EXPECT_EQ(back.size, 3u);
    EXPECT_EQ(back.process, group_member().process);
    EXPECT_EQ(back.id, "engine-2");
    EXPECT_EQ(back.round, 9u);
    EXPECT_EQ(back.state, MemberState::staged);
}

TEST(RecordsGolden, GroupsThatCantBe) {
    auto round = group_round();
    round.round = 7;
    EXPECT_THAT(decode_group_round(encode(round)), HasError(Code::corrupt, "committed round 8"));
    round.round = round.committed_round = 0;
    EXPECT_THAT(decode_group_round(encode(round)), HasError(Code::corrupt, "count from 1"));
    round = group_round();
    round.state = static_cast<GroupState>(3);
    EXPECT_THAT(decode_group_round(encode(round)), HasError(Code::corrupt, "state 3"));
    round = group_round();
    round.cause = static_cast<GroupCause>(4);
    EXPECT_THAT(decode_group_round(encode(round)), HasError(Code::corrupt, "cause 4"));
    auto member = group_member();
    member.rank = 3;
    EXPECT_THAT(decode_group_member(encode(member)), HasError(Code::corrupt, "rank 3 of 3"));
    // A reason longer than a record takes is cut, and read.
    round = group_round();
    round.reason.assign(100'000, 'x');
    EXPECT_EQ(decode_group_round(encode(round)).value().reason.size(), kMaxGroupReasonBytes);
}

TEST(RecordsGolden, EpochAndWorldStartAtOne) {
    auto record = epoch();
    record.epoch = 0;
    EXPECT_THAT(decode_epoch(encode(record)), HasError(Code::corrupt, "start at 1"));
    record = epoch();
    record.world = 0;
    EXPECT_THAT(decode_epoch(encode(record)), HasError(Code::corrupt, "start at 1"));
}

TEST(RecordsGolden, DurationsThatCantBe) {
    for (const double seconds : {-1.0, 1e9, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        auto record = publication();
        record.store_seconds = seconds;
        EXPECT_THAT(decode_publication(encode(record)), HasError(Code::corrupt, "duration")) << seconds;
    }
}

// Where a record says how many follow, a number that nothing backs.
TEST(RecordsGolden, CountsThatNothingBacks) {
    const auto bytes = golden_sync("rank");
    const std::size_t process_bytes = 4 + 36 + 4 + 6 + 24, links = 8 + process_bytes, slabs = links + 4 + 4 + 22 + 4 + 17, descriptors = slabs + 4;
    for (const auto at : {links, slabs, descriptors}) {
        for (const int value : {0x7f, 0xff}) {
            auto huge = bytes;
            for (std::size_t i = 0; i < 4; ++i) huge[at + i] = static_cast<std::byte>(value);
            EXPECT_THAT(decode_rank(huge), HasError(Code::corrupt, "truncated")) << at;
        }
    }
}

}  // namespace
}  // namespace wsync
