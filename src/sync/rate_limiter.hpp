// Holds a sync's bytes per second: a bucket of tokens that many threads draw from. Thread-safe.
#pragma once

#include "wsync/base/deadline.hpp"
#include "wsync/base/result.hpp"

#include <cstdint>
#include <mutex>

namespace wsync {

class RateLimiter {
public:
    // 0: no limit. The bucket holds 20 ms' worth, so that the rate is kept over short spans too.
    explicit RateLimiter(double bytes_per_second, Deadline::clock::time_point now = Deadline::clock::now()) : rate_(bytes_per_second), next_(now) {}
    // Waits for its turn. Error{timed_out} when that comes after the deadline.
    [[nodiscard]] Status acquire(std::uint64_t bytes, Deadline deadline);
    // When the turn comes, asked at `now`; the tokens are taken. acquire is this and a sleep.
    [[nodiscard]] Result<Deadline::clock::time_point> reserve(std::uint64_t bytes, Deadline::clock::time_point now, Deadline deadline);

private:
    double rate_;
    std::mutex mutex_;
    Deadline::clock::time_point next_;
};

}  // namespace wsync
