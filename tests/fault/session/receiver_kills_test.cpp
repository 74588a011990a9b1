// A receiver that dies at any moment of its sync: nobody else is held up, and nothing of it stays.
#include "actors.hpp"

namespace wsync {
namespace {

using namespace wsync::testing;

constexpr int kMoments = 12;

struct Way {
    Use use;
    std::string transport;
};

void PrintTo(const Way& way, std::ostream* out) { *out << name_of(way.use) << " by " << way.transport; }

class ReceiverKills : public ::testing::TestWithParam<Way> {
protected:
    ReceiverSetup setup() const { return {.use = GetParam().use, .transport = GetParam().transport, .receiver = {}, .session = {}}; }

    Place place_;
};

TEST_P(ReceiverKills, at_any_moment_of_a_first_sync) {
    Trainer trainer(place_, {.publisher = [&](PublisherOptions& options) {
                                 if (GetParam().transport == "disk") options.version_directory = place_.versions;
                             },
                             .session = {}});
    ASSERT_OK(trainer.open());
    std::uint64_t value = 1;
    ReceiverProcess other(place_, setup());
    // Twice: then it is attached to both slabs, and what the trainer spends on it doesn't grow any more.
    for (; value < 3; ++value) {
        ASSERT_OK(trainer.step(value, value));
        ASSERT_OK(other.sync());
    }
    const auto names_before = names_in(place_.scratch.path() + "/s");
    const auto shared_before = shared_names();
    Json before = trainer.resources();
    before["holds"] = GetParam().use == Use::serve_in_place ? 1 : 0;  // a release may be on its way

    // How long it takes when nobody dies, so that the moments are spread over all of it.
    std::chrono::microseconds whole{0};
    {
        ReceiverProcess probe(place_, setup());
        const auto begin = Deadline::clock::now();
        ASSERT_OK(probe.sync());
        whole = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::clock::now() - begin);
    }
    int died_unfinished = 0;
    for (int moment = 0; moment < kMoments; ++moment) {
        SCOPED_TRACE(moment);
        const auto dies_after = whole * (moment * 100 + moment * 37 % 100) / (kMoments * 90);
        ReceiverProcess victim(place_, setup());
        victim.begin_sync(10s, {{"die_us", dies_after.count()}});
        ++value;
        const auto version = trainer.step(value, value);
        ASSERT_OK(version);
        const auto synced = other.sync();
        ASSERT_OK(synced);
        EXPECT_EQ(synced->value("version", ""), *version);
        died_unfinished += victim.answer() ? 0 : 1;
        victim.process().signal(SIGKILL);
        ASSERT_EQ(victim.process().join(kPatience).value(), 128 + SIGKILL);
        // The slabs that the dead one may have held are free again: as many steps as there are slabs.
        for (int again = 0; again < 2; ++again) {
            ++value;
            ASSERT_OK(trainer.step(value, value));
            ASSERT_OK(other.sync());
        }
        // After its installation an engine has bytes of its own: there is nothing to look at here.
        if (GetParam().use != Use::map_then_install) {
            EXPECT_OK(other.serves(value));
        }
        EXPECT_OK(other.health());
    }
    EXPECT_GT(died_unfinished, 0);
    EXPECT_EQ(trainer.resources_settled(before), before);
    EXPECT_EQ(names_in(place_.scratch.path() + "/s"), names_before);
    EXPECT_EQ(shared_names(), shared_before);
}

INSTANTIATE_TEST_SUITE_P(Ways, ReceiverKills,
                         ::testing::Values(Way{Use::copy, "shm"}, Way{Use::copy, "tcp"}, Way{Use::copy, "disk"}, Way{Use::serve_in_place, "shm"},
                                           Way{Use::map_then_install, "shm"}),
                         [](const auto& info) { return std::string(name_of(info.param.use)) + "_" + info.param.transport; });

}  // namespace
}  // namespace wsync
