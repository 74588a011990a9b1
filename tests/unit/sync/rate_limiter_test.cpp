// The rate with a faked clock: whoever asks, in whatever pieces, gets it within 5 %.
#include "sync/rate_limiter.hpp"

#include "result_matchers.hpp"

#include <thread>
#include <vector>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasError;
using Time = Deadline::clock::time_point;

constexpr double kRate = 100e6;

double seconds(Deadline::clock::duration span) { return std::chrono::duration<double>(span).count(); }

TEST(RateLimiter, HoldsTheRateWithin5Percent) {
    for (const std::uint64_t piece : {1'000ull, 65'536ull, 1'048'576ull, 50'000'000ull}) {
        const Time begin{};
        RateLimiter limiter(kRate, begin);
        Time now = begin;
        std::uint64_t bytes = 0;
        // As one thread does it: sleep until the turn, move, ask again.
        while (seconds(now - begin) < 20) {
            now = std::max(now, limiter.reserve(piece, now, Deadline::never()).value());
            bytes += piece;
        }
        EXPECT_NEAR(static_cast<double>(bytes) / seconds(now - begin), kRate, 0.05 * kRate) << piece;
    }
}

TEST(RateLimiter, HoldsTheRateOverShortSpans) {
    RateLimiter limiter(kRate, Time{});
    Time now{};
    std::vector<Time> turns;
    for (int i = 0; i < 2000; ++i) {
        now = std::max(now, limiter.reserve(100'000, now, Deadline::never()).value());
        turns.push_back(now);
    }
    // 100 pieces are 100 ms; what the bucket holds may come on top.
    for (std::size_t i = 0; i + 100 < turns.size(); ++i) EXPECT_GE(seconds(turns[i + 100] - turns[i]), 0.1 - 0.02 - 1e-6);
}

TEST(RateLimiter, SharesTheRateBetweenThreads) {
    RateLimiter limiter(kRate, Time{});
    // Four that ask at the same time: their turns are as far apart as one alone would be told.
    std::vector<Time> turns;
    for (int round = 0; round < 50; ++round)
        for (int asker = 0; asker < 4; ++asker) turns.push_back(limiter.reserve(1'000'000, Time{}, Deadline::never()).value());
    for (std::size_t i = 1; i < turns.size(); ++i) EXPECT_NEAR(seconds(turns[i] - turns[i - 1]), 0.01, 1e-6);
}

TEST(RateLimiter, IdleTimeIsNotSavedUp) {
    RateLimiter limiter(kRate, Time{});
    const Time later = Time{} + 1h;
    std::uint64_t at_once = 0;
    while (limiter.reserve(100'000, later, Deadline::never()).value() <= later) at_once += 100'000;
    EXPECT_LE(at_once, static_cast<std::uint64_t>(0.02 * kRate) + 200'000);
    EXPECT_GE(at_once, static_cast<std::uint64_t>(0.02 * kRate) - 200'000);
}

TEST(RateLimiter, ADeadlineThatTheRateCantMeetTakesNoTokens) {
    RateLimiter limiter(kRate, Time{} + 1h);
    const Time now = Time{} + 1h;
    ASSERT_OK(limiter.reserve(100'000'000, now, Deadline::never()));  // the next second is spent
    EXPECT_THAT(limiter.reserve(1, now, Deadline::at(now + 500ms)), HasError(Code::timed_out, "100000000 bytes a second"));
    EXPECT_OK(limiter.reserve(1, now, Deadline::at(now + 1001ms)));
}

TEST(RateLimiter, NoLimit) {
    RateLimiter limiter(0);
    for (int i = 0; i < 1000; ++i) ASSERT_OK(limiter.acquire(1ull << 40, Deadline::now()));
}

// For real, from several threads: not faster than it says.
TEST(RateLimiter, ThreadsTogetherDontPassTheRate) {
    RateLimiter limiter(200e6);
    const auto begin = Deadline::clock::now();
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 20; ++i) EXPECT_OK(limiter.acquire(1'000'000, Deadline::never()));
        });
    for (auto& thread : threads) thread.join();
    // The last piece's turn comes when 59 had their time, less what the bucket held.
    EXPECT_GE(seconds(Deadline::clock::now() - begin), 59.0 / 200 - 0.021);
}

}  // namespace
}  // namespace wsync
