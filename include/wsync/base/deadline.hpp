// A point in monotonic time by which a call must answer; an interrupt may end it early. A plain value.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>

namespace wsync {

class Deadline {
public:
    using clock = std::chrono::steady_clock;

    // The caller waits as long as it takes.
    [[nodiscard]] static Deadline never() { return Deadline{}; }
    // Poll: answer now.
    [[nodiscard]] static Deadline now() { return Deadline{clock::now()}; }
    [[nodiscard]] static Deadline at(clock::time_point when) { return Deadline{when}; }
    // Implicit from a duration, so that `.deadline = 30s` reads well.
    template <class Rep, class Period>
    Deadline(std::chrono::duration<Rep, Period> from_now)
        : when_(clock::now() + std::chrono::duration_cast<clock::duration>(from_now)) {}

    // Also over as soon as `ended` is true: who waits sees it within a few hundredths of a second. Borrowed; it outlives
    // every copy of the deadline. A signal handler may set it.
    [[nodiscard]] Deadline unless(const std::atomic<bool>& ended) const {
        Deadline both = *this;
        both.ended_ = &ended;
        return both;
    }

    [[nodiscard]] bool interrupted() const { return ended_ != nullptr && ended_->load(std::memory_order_relaxed); }
    [[nodiscard]] bool expired() const { return interrupted() || (when_ && clock::now() >= *when_); }
    // Not below zero; nothing when there is no deadline.
    [[nodiscard]] std::optional<clock::duration> remaining() const {
        if (!when_) return std::nullopt;
        return std::max(clock::duration::zero(), *when_ - clock::now());
    }
    // For poll(2) and friends: milliseconds rounded up, -1 when there is no deadline. The wait may end before the deadline:
    // expired() says whether it is over.
    [[nodiscard]] int poll_milliseconds() const {
        if (interrupted()) return 0;
        auto left = remaining();
        if (ended_ != nullptr) left = std::min(left.value_or(kLook), kLook);
        if (!left) return -1;
        auto ms = std::chrono::ceil<std::chrono::milliseconds>(*left).count();
        return ms > 1'000'000 ? 1'000'000 : static_cast<int>(ms);
    }
    // For condition variables: when to look at expired() again; nothing when only the condition can end the wait.
    [[nodiscard]] std::optional<clock::time_point> next_look() const {
        if (ended_ == nullptr) return when_;
        const auto look = clock::now() + kLook;
        return when_ ? std::min(*when_, look) : look;
    }
    [[nodiscard]] std::optional<clock::time_point> when() const { return when_; }
    // The earlier of the two, ended by what ends this one (or else the other).
    [[nodiscard]] Deadline sooner(const Deadline& other) const {
        Deadline both = *this;
        if (!when_ || (other.when_ && *other.when_ < *when_)) both.when_ = other.when_;
        if (ended_ == nullptr) both.ended_ = other.ended_;
        return both;
    }

private:
    Deadline() = default;
    explicit Deadline(clock::time_point when) : when_(when) {}
    static constexpr clock::duration kLook = std::chrono::milliseconds(20);
    std::optional<clock::time_point> when_;
    const std::atomic<bool>* ended_ = nullptr;
};

}  // namespace wsync
