// Taking a name: epochs by compare-and-put, ranks that join, rivals, and leases that end on a faked clock.
#include "sync/epoch.hpp"

#include "control/directory/directory_control.hpp"
#include "control/directory/records.hpp"
#include "control/in_process/in_process_control.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;

EpochClaim claim(const std::string& run = {}, std::uint32_t rank = 0, std::uint32_t world = 1) {
    EpochClaim c;
    c.name = "policy";
    c.run = run;
    c.rank = rank;
    c.world = world;
    c.layout = digest_of(as_bytes_of("layout"));
    c.deadline = Deadline::now();
    return c;
}

ProcessIdentity on_another_host() { return {"another-boot", "trainer-9", 1, 4711, 99}; }

void put_rank(Control& control, std::uint64_t epoch, std::uint32_t rank, const ProcessIdentity& process) {
    RankRecord record;
    record.process = process;
    ASSERT_OK(control.put(rank_key("policy", epoch, rank), encode(record), nullptr));
}

// Passes everything on; before the n-th compare-and-put somebody else comes in between.
class RacedControl final : public Control {
public:
    RacedControl(Control& inner, std::function<void()> rival, int times) : inner_(inner), rival_(std::move(rival)), times_(times) {}
    Result<std::unique_ptr<Lease>> open_lease(Deadline::clock::duration time) override { return inner_.open_lease(time); }
    Result<Revision> put(const std::string& key, std::span<const std::byte> value, const Lease* lease) override { return inner_.put(key, value, lease); }
    Result<Revision> compare_and_put(const std::string& key, Revision expected, std::span<const std::byte> value, const Lease* lease) override {
        if (times_-- > 0) rival_();
        return inner_.compare_and_put(key, expected, value, lease);
    }
    Result<std::vector<ControlEntry>> read(const std::string& prefix) override { return inner_.read(prefix); }
    Status remove(const std::string& key) override { return inner_.remove(key); }
    Result<std::unique_ptr<Watch>> watch(const std::string& prefix) override { return inner_.watch(prefix); }
    std::string address() const override { return inner_.address(); }

private:
    Control& inner_;
    std::function<void()> rival_;
    int times_;
};

TEST(Epoch, EachPublisherTakesTheNextAndFencesTheOlder) {
    const auto control = make_in_process_control("epochs");
    EXPECT_THAT(read_epoch(*control, "policy"), HasError(Code::not_found, "nobody has published"));
    const auto first = open_epoch(*control, claim());
    ASSERT_OK(first);
    EXPECT_EQ(first->epoch, 1u);
    EXPECT_FALSE(first->run.empty());
    EXPECT_OK(check_epoch(*control, "policy", 1));
    const auto second = open_epoch(*control, claim());
    ASSERT_OK(second);
    EXPECT_EQ(second->epoch, 2u);
    EXPECT_NE(second->secret, first->secret);
    EXPECT_THAT(check_epoch(*control, "policy", 1), HasError(Code::unavailable, "epoch 2"));
    EXPECT_THAT(check_epoch(*control, "policy", 1), HasError(Code::unavailable, "epoch 1, is fenced"));
    EXPECT_OK(check_epoch(*control, "policy", 2));
}

TEST(Epoch, ClaimsThatMakeNoSense) {
    const auto control = make_in_process_control("nonsense");
    EXPECT_THAT(open_epoch(*control, claim("run", 2, 2)), HasError(Code::invalid_argument, "rank 2 of a world of 2"));
    EXPECT_THAT(open_epoch(*control, claim("run", 0, 0)), HasCode(Code::invalid_argument));
    EXPECT_THAT(open_epoch(*control, claim("", 0, 2)), HasError(Code::invalid_argument, "run id"));
    auto named = claim();
    named.name = "../policy";
    EXPECT_THAT(open_epoch(*control, named), HasCode(Code::invalid_argument));
    EXPECT_TRUE(control->read("policy").value().empty());
}

TEST(Epoch, RanksOfOneRunShareIt) {
    const auto control = make_in_process_control("ranks");
    const auto zero = open_epoch(*control, claim("run-7", 0, 3)).value();
    const auto one = open_epoch(*control, claim("run-7", 1, 3)).value();
    EXPECT_EQ(zero.epoch, one.epoch);
    EXPECT_EQ(zero.secret, one.secret);
    // Another world or layout is no rank of this run.
    EXPECT_THAT(open_epoch(*control, claim("run-7", 2, 4)), HasError(Code::invalid_argument, "world of 3"));
    auto other = claim("run-7", 2, 3);
    other.layout = digest_of(as_bytes_of("another layout"));
    EXPECT_THAT(open_epoch(*control, other), HasCode(Code::invalid_argument));
    // Another run is a new epoch, as no rank of the first is there yet.
    EXPECT_EQ(open_epoch(*control, claim("run-8", 0, 3)).value().epoch, 2u);
}

TEST(Epoch, ARestartedRankDoesNotJoinItsOldEpoch) {
    const auto control = make_in_process_control("restart");
    ASSERT_EQ(open_epoch(*control, claim("run-7", 0, 2)).value().epoch, 1u);
    put_rank(*control, 1, 0, on_another_host());
    // Rank 1 joins; who says that he is rank 0 again is a rival of the living one.
    EXPECT_EQ(open_epoch(*control, claim("run-7", 1, 2)).value().epoch, 1u);
    EXPECT_THAT(open_epoch(*control, claim("run-7", 0, 2)), HasError(Code::unavailable, "being published by trainer-9"));
    // Once something was published, nobody joins.
    ASSERT_OK(control->remove(rank_key("policy", 1, 0)));
    ASSERT_OK(control->put(head_key("policy"), encode(HeadRecord{{"policy", "run-7", 1, 1, 1, 0, {}}}), nullptr));
    EXPECT_EQ(open_epoch(*control, claim("run-7", 1, 2)).value().epoch, 2u);
}

TEST(Epoch, ALivingRivalIsAnErrorAtOnce) {
    const auto control = make_in_process_control("rival");
    ASSERT_OK(open_epoch(*control, claim()));
    put_rank(*control, 1, 0, current_process().value());
    auto patient = claim();
    patient.deadline = Deadline::never();  // seen alive: waiting would not help
    EXPECT_THAT(open_epoch(*control, patient), HasError(Code::unavailable, "stop it first"));
}

TEST(Epoch, ADeadRivalIsFencedAtOnce) {
    const auto control = make_in_process_control("dead");
    ASSERT_OK(open_epoch(*control, claim()));
    auto dead = current_process().value();
    dead.start_ticks += 1;  // the pid lives, but it is another process
    put_rank(*control, 1, 0, dead);
    EXPECT_EQ(open_epoch(*control, claim()).value().epoch, 2u);
}

TEST(Epoch, RivalsThatRaceGetEpochsOfTheirOwn) {
    const auto control = make_in_process_control("race");
    constexpr int kRivals = 8;
    std::vector<std::optional<EpochRecord>> got(kRivals);
    std::vector<std::thread> threads;
    for (int i = 0; i < kRivals; ++i) {
        threads.emplace_back([&, i] {
            auto one = claim("run-" + std::to_string(i));
            one.deadline = 30s;
            auto opened = open_epoch(*control, one);
            EXPECT_OK(opened);
            if (opened) got[static_cast<std::size_t>(i)] = *opened;
        });
    }
    for (auto& thread : threads) thread.join();
    std::set<std::uint64_t> epochs;
    const auto last = read_epoch(*control, "policy").value();
    for (const auto& record : got) {
        ASSERT_TRUE(record);
        EXPECT_TRUE(epochs.insert(record->epoch).second) << "epoch " << record->epoch << " was given twice";
        EXPECT_EQ(check_epoch(*control, "policy", record->epoch).has_value(), record->epoch == last.epoch);
    }
    EXPECT_EQ(*epochs.rbegin(), last.epoch);
}

TEST(Epoch, RanksThatRaceShareOne) {
    const auto control = make_in_process_control("race of ranks");
    constexpr std::uint32_t kWorld = 6;
    std::vector<std::uint64_t> epochs(kWorld);
    std::vector<Secret> secrets(kWorld);
    std::vector<std::thread> threads;
    for (std::uint32_t rank = 0; rank < kWorld; ++rank) {
        threads.emplace_back([&, rank] {
            auto one = claim("run-7", rank, kWorld);
            one.deadline = 30s;
            auto opened = open_epoch(*control, one);
            EXPECT_OK(opened);
            if (opened) epochs[rank] = opened->epoch, secrets[rank] = opened->secret;
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(epochs, std::vector<std::uint64_t>(kWorld, 1));
    for (const auto& secret : secrets) EXPECT_EQ(secret, secrets[0]);
}

// Somebody comes between the look and the put: the loser looks again.
TEST(Epoch, TheLoserOfAPutLooksAgain) {
    const auto control = make_in_process_control("loser");
    ASSERT_OK(open_epoch(*control, claim()));
    int rivals = 0;
    RacedControl raced(*control, [&] { EXPECT_OK(open_epoch(*control, claim("rival-" + std::to_string(++rivals)))); }, 3);
    auto patient = claim();
    patient.deadline = 30s;
    EXPECT_EQ(open_epoch(raced, patient).value().epoch, 5u);
    // With no time to look again it is told.
    RacedControl again(*control, [&] { EXPECT_OK(open_epoch(*control, claim())); }, 1);
    EXPECT_THAT(open_epoch(again, claim()), HasCode(Code::unavailable));
}

TEST(Epoch, TheLoserFindsALivingRival) {
    const auto control = make_in_process_control("living");
    RacedControl raced(*control,
                       [&] {
                           EXPECT_OK(open_epoch(*control, claim("rival")));
                           put_rank(*control, 1, 0, current_process().value());
                       },
                       1);
    auto patient = claim();
    patient.deadline = 30s;
    EXPECT_THAT(open_epoch(raced, patient), HasError(Code::unavailable, "run rival"));
}

void write_file(const std::string& path, const Bytes& bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(file.good());
}

// A publisher of another host that says nothing any more: its rank stands until its lease has run out on our clock.
struct SilentRival {
    SilentRival() {
        DirectoryOptions options;
        options.path = folder.path() + "/control";
        options.clock = [this] { return Deadline::clock::time_point(Deadline::clock::duration(now.load())); };
        control = open_directory_control(options).value();
        EXPECT_OK(open_epoch(*control, claim("theirs")));
        EXPECT_OK(control->open_lease(1s));  // the folder of leases is there from now on
        put_rank(*control, 1, 0, on_another_host());
        // Its lease is a file that nobody renews; the record is put under it by hand.
        LeaseRecord lease{"0123456789abcdef0123456789abcdef", on_another_host(), static_cast<std::uint64_t>(std::chrono::nanoseconds(5s).count()), 1};
        write_file(options.path + "/leases/" + lease.id, encode(lease));
        const auto entry = read_one(*control, rank_key("policy", 1, 0)).value();
        write_file(options.path + "/values/" + rank_key("policy", 1, 0) + ",value", encode(ValueRecord{entry->key, entry->revision, lease.id, entry->value}));
    }
    void pass(std::chrono::nanoseconds time) { now += time.count(); }

    testing::TemporaryDirectory folder;
    std::atomic<std::int64_t> now{std::chrono::nanoseconds(1h).count()};
    std::shared_ptr<Control> control;
};

TEST(Epoch, ALeaseThatStandsIsARival) {
    SilentRival rival;
    EXPECT_THAT(open_epoch(*rival.control, claim("ours")), HasError(Code::unavailable, "being published by trainer-9"));
    rival.pass(4s);
    EXPECT_THAT(open_epoch(*rival.control, claim("ours")), HasError(Code::unavailable, "epoch 1, run theirs"));
    EXPECT_OK(check_epoch(*rival.control, "policy", 1));
}

TEST(Epoch, ALeaseThatRanOutIsFenced) {
    SilentRival rival;
    EXPECT_THAT(open_epoch(*rival.control, claim("ours")), HasCode(Code::unavailable));  // its counter is seen from now on
    rival.pass(60s);
    EXPECT_EQ(open_epoch(*rival.control, claim("ours")).value().epoch, 2u);
    // When it wakes it finds itself fenced, and can't be read from.
    EXPECT_THAT(check_epoch(*rival.control, "policy", 1), HasError(Code::unavailable, "is fenced"));
    EXPECT_THAT(read_rank(*rival.control, "policy", 1, 0), HasError(Code::peer_lost, "its lease ended"));
}

TEST(Epoch, OpeningWaitsForALeaseToRunOut) {
    SilentRival rival;
    auto patient = claim("ours");
    patient.deadline = 60s;
    std::atomic<bool> done{false};
    std::thread time([&] {
        while (!done) {
            rival.pass(500ms);
            std::this_thread::sleep_for(5ms);
        }
    });
    const auto opened = open_epoch(*rival.control, patient);
    done = true;
    time.join();
    ASSERT_OK(opened);
    EXPECT_EQ(opened->epoch, 2u);
}

TEST(Epoch, OlderOnesAreRemovedAndNothingElse) {
    const auto control = make_in_process_control("old");
    for (const std::string name : {"policy", "policy2"}) {
        for (const auto* key : {"/epoch", "/head", "/e8/rank/0", "/e8/v3/1", "/e9/v1/0", "/e10/v1/0", "/e100/rank/0", "/extra/v1", "/e9x/v1"}) {
            ASSERT_OK(control->put(name + key, as_bytes_of("x"), nullptr));
        }
    }
    remove_older_epochs(*control, "policy", 10);
    std::vector<std::string> keys;
    const auto left = control->read("policy").value();
    for (const auto& entry : left) keys.push_back(entry.key);
    EXPECT_THAT(keys, ::testing::ElementsAre("policy/e10/v1/0", "policy/e100/rank/0", "policy/e9x/v1", "policy/epoch", "policy/extra/v1", "policy/head"));
    EXPECT_EQ(control->read("policy2")->size(), 9u);
}

TEST(Epoch, RecordsThatCantBeReadAreNamed) {
    const auto control = make_in_process_control("broken");
    const Bytes junk(7);
    ASSERT_OK(control->put(epoch_key("policy"), junk, nullptr));
    EXPECT_THAT(open_epoch(*control, claim()), HasError(Code::corrupt, "policy/epoch"));
    EXPECT_THAT(read_epoch(*control, "policy"), HasError(Code::corrupt, "local:broken"));
    ASSERT_OK(control->put(head_key("policy"), junk, nullptr));
    EXPECT_THAT(read_head(*control, "policy"), HasError(Code::corrupt, "policy/head"));
}

}  // namespace
}  // namespace wsync
