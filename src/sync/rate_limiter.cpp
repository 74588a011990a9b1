#include "sync/rate_limiter.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <thread>

namespace wsync {

Result<Deadline::clock::time_point> RateLimiter::reserve(std::uint64_t bytes, Deadline::clock::time_point now, Deadline deadline) {
    if (rate_ <= 0) return now;
    constexpr auto kBurst = std::chrono::milliseconds(20);
    std::lock_guard lock(mutex_);
    const auto turn = std::max(next_, now - kBurst);
    if (deadline.when() && turn > *deadline.when()) {
        return Error{Code::timed_out, fmt::format("the rate of {:.0f} bytes a second leaves no room before the deadline", rate_), {}};
    }
    next_ = turn + std::chrono::duration_cast<Deadline::clock::duration>(std::chrono::duration<double>(static_cast<double>(bytes) / rate_));
    return turn;
}

Status RateLimiter::acquire(std::uint64_t bytes, Deadline deadline) {
    WSYNC_TRY(const auto turn, reserve(bytes, Deadline::clock::now(), deadline));
    if (rate_ <= 0) return {};
    while (Deadline::clock::now() < turn) {
        if (deadline.interrupted()) return Error{Code::timed_out, "the wait for a limited rate was ended early", {}};
        std::this_thread::sleep_until(std::min(turn, deadline.next_look().value_or(turn)));
    }
    return {};
}

}  // namespace wsync
