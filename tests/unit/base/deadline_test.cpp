// A deadline, and what ends it early.
#include "wsync/base/deadline.hpp"

#include <gtest/gtest.h>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;

TEST(Deadline, NeverHasNoEnd) {
    const auto never = Deadline::never();
    EXPECT_FALSE(never.expired());
    EXPECT_EQ(never.poll_milliseconds(), -1);
    EXPECT_FALSE(never.next_look());
    EXPECT_FALSE(never.when());
}

TEST(Deadline, NowIsOver) {
    EXPECT_TRUE(Deadline::now().expired());
    EXPECT_EQ(Deadline::now().poll_milliseconds(), 0);
    EXPECT_FALSE(Deadline::now().interrupted());
}

TEST(Deadline, AFlagEndsItAtOnce) {
    std::atomic<bool> ended{false};
    for (const auto& deadline : {Deadline::never().unless(ended), Deadline(1h).unless(ended), Deadline(1h).sooner(2h).unless(ended),
                                 Deadline(1h).sooner(Deadline(2h).unless(ended)), Deadline(1h).unless(ended).sooner(2h)}) {
        ended = false;
        EXPECT_FALSE(deadline.expired());
        // Whoever waits looks again soon.
        EXPECT_GE(deadline.poll_milliseconds(), 1);
        EXPECT_LE(deadline.poll_milliseconds(), 100);
        ASSERT_TRUE(deadline.next_look());
        EXPECT_LE(*deadline.next_look(), Deadline::clock::now() + 100ms);
        ended = true;
        EXPECT_TRUE(deadline.expired());
        EXPECT_TRUE(deadline.interrupted());
        EXPECT_EQ(deadline.poll_milliseconds(), 0);
    }
}

TEST(Deadline, AFlagDoesNotPutItOff) {
    const std::atomic<bool> ended{false};
    EXPECT_TRUE(Deadline::now().unless(ended).expired());
    EXPECT_FALSE(Deadline::now().unless(ended).interrupted());
    EXPECT_EQ(Deadline::now().unless(ended).poll_milliseconds(), 0);
    const auto soon = Deadline(1ms).unless(ended);
    EXPECT_LE(*soon.next_look(), *soon.when());
}

TEST(Deadline, TheSoonerOfTwo) {
    const Deadline near(1s), far(1h);
    EXPECT_EQ(near.sooner(far).when(), near.when());
    EXPECT_EQ(far.sooner(near).when(), near.when());
    EXPECT_EQ(Deadline::never().sooner(near).when(), near.when());
    EXPECT_EQ(near.sooner(Deadline::never()).when(), near.when());
}

}  // namespace
}  // namespace wsync
