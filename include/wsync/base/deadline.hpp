// A point in monotonic time by which a call must answer. A plain value.
#pragma once

#include <algorithm>
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

    [[nodiscard]] bool expired() const { return when_ && clock::now() >= *when_; }
    // Not below zero; nothing when there is no deadline.
    [[nodiscard]] std::optional<clock::duration> remaining() const {
        if (!when_) return std::nullopt;
        return std::max(clock::duration::zero(), *when_ - clock::now());
    }
    // For poll(2) and friends: milliseconds rounded up, -1 when there is no deadline.
    [[nodiscard]] int poll_milliseconds() const {
        auto left = remaining();
        if (!left) return -1;
        auto ms = std::chrono::ceil<std::chrono::milliseconds>(*left).count();
        return ms > 1'000'000 ? 1'000'000 : static_cast<int>(ms);
    }
    [[nodiscard]] std::optional<clock::time_point> when() const { return when_; }
    // The earlier of the two.
    [[nodiscard]] Deadline sooner(const Deadline& other) const {
        if (!when_) return other;
        if (!other.when_) return *this;
        return *when_ < *other.when_ ? *this : other;
    }

private:
    Deadline() = default;
    explicit Deadline(clock::time_point when) : when_(when) {}
    std::optional<clock::time_point> when_;
};

}  // namespace wsync
