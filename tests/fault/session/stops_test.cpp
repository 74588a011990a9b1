// Stalls beside deaths: a holder or a trainer that is stopped, a holder whose child outlives it.
#include "actors.hpp"
#include "control/control.hpp"

#include <csignal>
#include <thread>

namespace wsync {
namespace {

using namespace wsync::testing;

class Stops : public ::testing::TestWithParam<std::string> {
protected:
    ReceiverSetup copying(double bytes_per_second = 0) const {
        return {.use = Use::copy, .transport = GetParam(), .receiver = [=](ReceiverOptions& options) { options.budget.bytes_per_second = bytes_per_second; }, .session = {}};
    }
    // Until it holds a version, that is: has begun to read it.
    void await_hold(Trainer& trainer, std::uint64_t holds = 1) {
        for (const Deadline patience(kPatience); trainer.holds() < holds && !patience.expired();) std::this_thread::sleep_for(1ms);
        ASSERT_GE(trainer.holds(), holds);
    }

    Place place_;
};

void stop(Child& child) {
    child.signal(SIGSTOP);
    // The state letter of /proc/PID/stat comes behind the last parenthesis.
    const auto stat = "/proc/" + std::to_string(child.pid()) + "/stat";
    for (const Deadline patience(kPatience); !patience.expired();) {
        const auto text = read_whole_file(stat);
        const auto at = text.rfind(')');
        if (at != std::string::npos && text[at + 2] == 'T') return;
        std::this_thread::sleep_for(1ms);
    }
    ADD_FAILURE() << child.name() << " did not stop";
}

TEST_P(Stops, a_holder_that_is_stopped_is_named_revoked_and_gets_no_mixture) {
    Trainer trainer(place_);
    ReceiverProcess slow(place_, copying(2e7));
    ASSERT_OK(start(trainer, {&slow}));
    ASSERT_OK(trainer.step(2, 2));
    slow.begin_sync(15s);
    await_hold(trainer);
    stop(slow.process());
    // Version 3 has a free slab; for version 4 the trainer needs the one that is held.
    ASSERT_OK(trainer.step(3, 3));
    const auto pid = std::to_string(slow.process().pid());
    EXPECT_THAT(trainer.step(4, 4, {{"deadline_ms", 50}}), HasError(Code::timed_out, "engine-" + pid));
    EXPECT_THAT(trainer.step(4, 4, {{"deadline_ms", 50}}), HasError(Code::timed_out, "copy hold on version 2"));
    ASSERT_OK(trainer.step(4, 4, {{"deadline_ms", 50}, {"revoke", true}}));
    EXPECT_EQ(trainer.holds(), 0u);
    slow.process().signal(SIGCONT);
    const auto revoked = slow.answer();
    ASSERT_FALSE(revoked);
    EXPECT_THAT(revoked.error().code, ::testing::AnyOf(Code::corrupt, Code::peer_lost)) << revoked.error().to_string();
    EXPECT_OK(slow.serves(1));
    ASSERT_OK(slow.sync());
    EXPECT_OK(slow.serves(4));
}

TEST_P(Stops, a_trainer_that_is_stopped_in_mid_send_costs_its_receiver_no_more_than_the_deadline) {
    Trainer trainer(place_);
    ReceiverProcess receiver(place_, copying(2e7));
    ASSERT_OK(start(trainer, {&receiver}));
    ASSERT_OK(trainer.step(2, 2));
    const auto begin = Deadline::clock::now();
    receiver.begin_sync(500ms);
    await_hold(trainer);
    stop(trainer.process());
    EXPECT_THAT(receiver.answer(), HasCode(Code::timed_out));
    EXPECT_LT(Deadline::clock::now() - begin, 10s);
    EXPECT_OK(receiver.serves(1));
    EXPECT_THAT(receiver.sync(50ms), HasCode(Code::timed_out));
    trainer.process().signal(SIGCONT);
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(2));
    ASSERT_OK(trainer.step(3, 3));
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(3));
}

TEST_P(Stops, a_trainer_that_is_stopped_keeps_its_name_and_one_whose_lease_ended_is_fenced) {
    Trainer first(place_);
    ReceiverProcess receiver(place_, copying());
    ASSERT_OK(start(first, {&receiver}));
    ASSERT_OK(first.ask({{"do", "begin"}}));
    ASSERT_OK(first.ask({{"do", "fill"}, {"value", 2}}));
    stop(first.process());
    Trainer second(place_);
    EXPECT_THAT(second.open(), HasError(Code::unavailable, "is being published by"));
    // What other hosts see when its lease has ended.
    auto control = open_control(place_.control).value();
    ASSERT_OK(control->remove("policy/e1/rank/0"));
    ASSERT_OK(second.open());
    ASSERT_OK(second.step(3, 1));
    first.process().signal(SIGCONT);
    EXPECT_THAT(first.ask({{"do", "publish"}, {"step", 2}}), HasError(Code::unavailable, "is fenced"));
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(3));
}

// The signal is the test's: it stands for a Ctrl-C, and its handler calls Receiver::interrupt.
TEST_P(Stops, an_interrupt_ends_a_transfer_under_way_and_nothing_else) {
    Trainer trainer(place_);
    ReceiverProcess receiver(place_, copying(4e6));
    ASSERT_OK(start(trainer, {&receiver}));
    ASSERT_OK(trainer.step(2, 2));
    receiver.begin_sync(15s);
    await_hold(trainer);
    receiver.process().signal(SIGUSR1);
    EXPECT_THAT(receiver.answer(), HasCode(Code::cancelled));
    EXPECT_OK(receiver.serves(1));
    // What waits for a version that does not come is woken too.
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(2));
    receiver.begin_sync(15s);
    std::this_thread::sleep_for(20ms);
    receiver.process().signal(SIGUSR1);
    EXPECT_THAT(receiver.answer(), HasCode(Code::cancelled));
    for (std::uint64_t value = 3; value < 6; ++value) ASSERT_OK(trainer.step(value, value));
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(5));
    for (const Deadline patience(kPatience); trainer.holds() != 0 && !patience.expired();) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(trainer.holds(), 0u);
}

TEST_P(Stops, a_receiver_that_is_stopped_takes_no_push_and_holds_up_nobody) {
    Trainer trainer(place_);
    ReceiverProcess idle(place_, copying());
    ASSERT_OK(start(trainer, {&idle}));
    stop(idle.process());
    // More heads than its socket's buffer takes.
    for (std::uint64_t value = 2; value < 7; ++value) ASSERT_OK(trainer.step(value, value));
    ASSERT_OK(trainer.ask({{"do", "repeat"}, {"count", 500}}));
    ASSERT_OK(trainer.step(7, 7));
    idle.process().signal(SIGCONT);
    ASSERT_OK(idle.sync());
    EXPECT_OK(idle.serves(7));
}

// What a hold is bound to is the holder, not the connection, of which its child has a copy.
TEST_P(Stops, a_holder_that_forked_and_died_holds_nothing) {
    Trainer trainer(place_);
    ReceiverProcess holder(place_, copying(2e7));
    ASSERT_OK(start(trainer, {&holder}));
    // Its child has copies of the link and of the channel.
    const auto forked = holder.ask({{"do", "fork"}});
    ASSERT_OK(forked);
    const auto child = forked->value("pid", pid_t{0});
    ASSERT_OK(trainer.step(2, 2));
    holder.begin_sync(15s);
    await_hold(trainer);
    holder.process().signal(SIGKILL);
    ASSERT_TRUE(holder.process().join(kPatience));
    for (std::uint64_t value = 3; value < 7; ++value) ASSERT_OK(trainer.step(value, value));
    EXPECT_EQ(trainer.holds(), 0u);
    EXPECT_EQ(::kill(child, 0), 0);  // it was there all the time
    ::kill(child, SIGKILL);
}

// The hold came with the news of the version: the switch needs nobody else. Until then a receiver that was stopped keeps back
// what it kept back anyway.
TEST(StopsInPlace, a_receiver_switches_to_what_it_was_offered_though_the_trainer_is_stopped) {
    Place place;
    Trainer trainer(place);
    ReceiverProcess engine(place, {.use = Use::serve_in_place, .transport = "shm", .receiver = {}, .session = {}});
    ASSERT_OK(start(trainer, {&engine}));
    ASSERT_OK(trainer.step(2, 2));
    ASSERT_OK(engine.sync());  // both slabs are mapped now
    ASSERT_OK(trainer.step(3, 3));
    EXPECT_EQ(trainer.holds(), 2u);
    stop(trainer.process());
    ASSERT_OK(engine.sync());
    EXPECT_OK(engine.serves(3));
    trainer.process().signal(SIGCONT);
    // The claim and the release of the older version come in their order.
    ASSERT_OK(trainer.step(4, 4));
    EXPECT_THAT(trainer.step(5, 5, {{"deadline_ms", 50}}), HasError(Code::timed_out, "(serve hold on version 3)"));
    ASSERT_OK(engine.sync());
    EXPECT_OK(engine.serves(4));
}

TEST(StopsInPlace, a_receiver_that_is_stopped_loses_what_it_was_offered_with_what_it_serves) {
    Place place;
    Trainer trainer(place);
    ReceiverProcess engine(place, {.use = Use::serve_in_place, .transport = "shm", .receiver = {}, .session = {}});
    ASSERT_OK(start(trainer, {&engine}));
    ASSERT_OK(trainer.step(2, 2));
    EXPECT_EQ(trainer.holds(), 2u);
    stop(engine.process());
    EXPECT_THAT(trainer.step(3, 3, {{"deadline_ms", 50}}), HasError(Code::timed_out, "serve hold on version 1"));
    ASSERT_OK(trainer.step(3, 3, {{"deadline_ms", 50}, {"revoke", true}}));
    EXPECT_EQ(trainer.holds(), 0u);
    ASSERT_OK(trainer.step(4, 4));  // nothing was offered to it since, nothing is waited for
    engine.process().signal(SIGCONT);
    ASSERT_OK(engine.sync());
    EXPECT_OK(engine.serves(4));
}

INSTANTIATE_TEST_SUITE_P(Transports, Stops, ::testing::Values("shm", "tcp"), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace wsync
