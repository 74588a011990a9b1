#include "sync/rate_limiter.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <thread>

namespace wsync {

Status RateLimiter::acquire(std::uint64_t bytes, Deadline deadline) {
    if (rate_ <= 0) return {};
    constexpr auto kBurst = std::chrono::milliseconds(20);
    Deadline::clock::time_point turn;
    {
        std::lock_guard lock(mutex_);
        const auto now = Deadline::clock::now();
        next_ = std::max(next_, now - kBurst);
        turn = next_;
        const auto cost = std::chrono::duration_cast<Deadline::clock::duration>(std::chrono::duration<double>(static_cast<double>(bytes) / rate_));
        if (deadline.when() && turn > *deadline.when()) {
            return Error{Code::timed_out, fmt::format("the rate of {:.0f} bytes a second leaves no room before the deadline", rate_), {}};
        }
        next_ += cost;
    }
    std::this_thread::sleep_until(turn);
    return {};
}

}  // namespace wsync
