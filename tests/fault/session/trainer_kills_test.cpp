// A trainer that dies at any moment: no half of a version is ever seen, receivers serve what they have, and the trainer that
// comes next, though its step be lower, is followed.
#include "actors.hpp"

#include <csignal>
#include <thread>

namespace wsync {
namespace {

using namespace wsync::testing;

constexpr int kMoments = 12;

struct Way {
    Use use;
    std::string transport;
};

void PrintTo(const Way& way, std::ostream* out) { *out << name_of(way.use) << " by " << way.transport; }

std::chrono::microseconds since(Deadline::clock::time_point begin) {
    return std::chrono::duration_cast<std::chrono::microseconds>(Deadline::clock::now() - begin);
}

class TrainerKills : public ::testing::TestWithParam<Way> {
protected:
    TrainerSetup trainer_setup() { return trainer_setup(place_); }
    static TrainerSetup trainer_setup(const Place& place) {
        return {.publisher = [versions = place.versions](PublisherOptions& options) {
                    if (GetParam().transport == "disk") options.version_directory = versions;
                },
                .session = {}};
    }
    ReceiverSetup receiver_setup() const { return {.use = GetParam().use, .transport = GetParam().transport, .receiver = {}, .session = {}}; }

    // Old or new, each byte of it; nothing else.
    void expect_old_or_new(ReceiverProcess& receiver, const Result<Json>& synced, std::uint64_t old, std::uint64_t fresh) {
        if (synced) {
            EXPECT_OK(receiver.serves(fresh));
        } else {
            EXPECT_THAT(synced.error().code, ::testing::AnyOf(Code::timed_out, Code::peer_lost, Code::unavailable)) << synced.error().to_string();
            EXPECT_OK(receiver.serves(old));
        }
        EXPECT_OK(receiver.health());
    }

    // The files of a place where a trainer lives that has published often enough for the oldest to go.
    Json files_with_a_living_trainer(const Place& place, std::uint64_t value, const Json& wanted) {
        Trainer trainer(place, trainer_setup(place));
        EXPECT_OK(trainer.open());
        for (int step = 0; step < 8; ++step) EXPECT_OK(trainer.step(value, static_cast<std::uint64_t>(step)));
        return files_settled(place, wanted);
    }
    // However many trainers died here, it looks as if the one that lives now were the first.
    void expect_nothing_of_the_dead() {
        const Place fresh;
        const auto wanted = files_with_a_living_trainer(fresh, 1, {});
        EXPECT_EQ(files_with_a_living_trainer(place_, 1, wanted), wanted);
    }

    Place place_;
};

TEST_P(TrainerKills, at_any_moment_of_a_publication) {
    const auto shared_before = shared_names();
    std::chrono::microseconds whole{0};
    {
        Trainer trainer(place_, trainer_setup());
        ASSERT_OK(trainer.open());
        ASSERT_OK(trainer.step(1, 1));
        const auto begin = Deadline::clock::now();
        ASSERT_OK(trainer.step(2, 2));
        whole = since(begin);
    }
    std::optional<ReceiverProcess> reader(std::in_place, place_, receiver_setup());
    auto& receiver = *reader;
    std::uint64_t value = 2;
    int unseen = 0;
    for (int moment = 0; moment < kMoments; ++moment) {
        SCOPED_TRACE(moment);
        Trainer trainer(place_, trainer_setup());
        ASSERT_OK(trainer.open());
        // A restarted trainer begins with a lower step, and its receivers are told.
        const auto step = static_cast<std::uint64_t>(1000 - 10 * moment);
        const auto first = trainer.step(++value, step);
        ASSERT_OK(first);
        const auto synced = receiver.sync();
        ASSERT_OK(synced);
        EXPECT_EQ(synced->value("version", ""), *first);
        if (moment > 0) {
            EXPECT_THAT((*synced)["notes"].dump(), ::testing::HasSubstr("its step is lower"));
        }
        EXPECT_OK(receiver.serves(value));
        const auto before = receiver.ask({{"do", "resources"}});
        ASSERT_OK(before);

        const auto dies_after = whole * (moment * 100 + moment * 37 % 100) / (kMoments * 90);
        const auto lost = trainer.step(value + 1, step + 1, {{"die_us", dies_after.count()}});
        trainer.process().signal(SIGKILL);
        ASSERT_EQ(trainer.process().join(kPatience).value(), 128 + SIGKILL);
        const auto begin = Deadline::clock::now();
        const auto after = receiver.sync(50ms);
        EXPECT_LT(since(begin), 10s);
        expect_old_or_new(receiver, after, value, value + 1);
        unseen += after ? 0 : 1;
        if (lost) {
            EXPECT_TRUE(after || after.error().code == Code::peer_lost || after.error().code == Code::timed_out);
        }
        ++value;
    }
    EXPECT_GT(unseen, 0);
    EXPECT_EQ(shared_names(), shared_before);
    reader.reset();  // what it reads from disk stays while it does
    expect_nothing_of_the_dead();
}

TEST_P(TrainerKills, at_any_moment_of_its_start) {
    std::chrono::microseconds whole{0};
    {
        Trainer trainer(place_, trainer_setup());
        const auto begin = Deadline::clock::now();
        ASSERT_OK(trainer.open());
        whole = since(begin);
    }
    std::optional<ReceiverProcess> reader(std::in_place, place_, receiver_setup());
    auto& receiver = *reader;
    std::uint64_t value = 0;
    for (int moment = 0; moment < kMoments / 2; ++moment) {
        SCOPED_TRACE(moment);
        Trainer victim(place_, trainer_setup());
        (void)victim.open(static_cast<int>((whole * (moment * 2 + 1) / kMoments).count()));
        victim.process().signal(SIGKILL);
        ASSERT_TRUE(victim.process().join(kPatience));
        EXPECT_FALSE(receiver.sync(20ms));
        if (value > 0) {
            EXPECT_OK(receiver.serves(value));
        }
        Trainer next(place_, trainer_setup());
        ASSERT_OK(next.open());
        ++value;
        ASSERT_OK(next.step(value, value));
        ASSERT_OK(receiver.sync());
        EXPECT_OK(receiver.serves(value));
    }
    reader.reset();  // what it reads from disk stays while it does
    expect_nothing_of_the_dead();
}

// Twenty lives without a version between them: nothing is swept by a head that moves, and still nothing piles up.
TEST_P(TrainerKills, again_and_again_before_anything_was_published) {
    std::chrono::microseconds whole{0};
    {
        Trainer trainer(place_, trainer_setup());
        const auto begin = Deadline::clock::now();
        ASSERT_OK(trainer.open());
        whole = since(begin);
    }
    std::size_t most = 0;
    for (int life = 0; life < 20; ++life) {
        Trainer victim(place_, trainer_setup());
        (void)victim.open(static_cast<int>((whole * (life + 1) / 20).count()));
        victim.process().signal(SIGKILL);
        ASSERT_TRUE(victim.process().join(kPatience));
        most = std::max(most, files_now(place_)["sockets"].get<std::size_t>());
    }
    EXPECT_LE(most, 3u) << "one life's: a link and two slabs";
    expect_nothing_of_the_dead();
}

TEST_P(TrainerKills, at_any_moment_of_being_read) {
    if (GetParam().transport == "disk") {
        // A version on disk outlives its trainer: it is read to the end.
        Trainer trainer(place_, trainer_setup());
        ASSERT_OK(trainer.open());
        ASSERT_OK(trainer.step(1, 1));
        ReceiverProcess receiver(place_, receiver_setup());
        receiver.begin_sync(10s);
        trainer.process().signal(SIGKILL);
        ASSERT_OK(receiver.answer());
        EXPECT_OK(receiver.serves(1));
        return;
    }
    std::uint64_t value = 0;
    int lost = 0;
    for (int moment = 0; moment < kMoments; ++moment) {
        SCOPED_TRACE(moment);
        Trainer trainer(place_, trainer_setup());
        ASSERT_OK(trainer.open());
        ++value;
        ASSERT_OK(trainer.step(value, value));
        auto setup = receiver_setup();
        // Slow enough that it is read for some 50 ms.
        setup.receiver = [](ReceiverOptions& options) { options.budget.bytes_per_second = 5e7; };
        ReceiverProcess receiver(place_, std::move(setup));
        ASSERT_OK(receiver.sync());
        ++value;
        const auto version = trainer.step(value, value);
        ASSERT_OK(version);
        // Who loses a trainer before he has read from it waits for the next one, until his deadline.
        receiver.begin_sync(500ms);
        std::this_thread::sleep_for(moment * 5ms);
        const auto begin = Deadline::clock::now();
        trainer.process().signal(SIGKILL);
        const auto synced = receiver.answer();
        EXPECT_LT(since(begin), 11s);
        if (synced) {
            EXPECT_EQ(synced->value("version", ""), *version);
            EXPECT_OK(receiver.serves(value));
        } else {
            ++lost;
            EXPECT_THAT(synced, HasCode(Code::peer_lost));
            EXPECT_OK(receiver.serves(value - 1));
        }
        EXPECT_OK(receiver.health());
    }
    if (GetParam().use == Use::copy) {
        EXPECT_GT(lost, 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Ways, TrainerKills, ::testing::Values(Way{Use::copy, "shm"}, Way{Use::copy, "tcp"}, Way{Use::copy, "disk"}, Way{Use::serve_in_place, "shm"}),
                         [](const auto& info) { return std::string(name_of(info.param.use)) + "_" + info.param.transport; });

}  // namespace
}  // namespace wsync
