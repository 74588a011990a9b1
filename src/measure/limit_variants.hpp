// The variants behind each kind of limit; internal to limits.cpp and the files that make them.
#pragma once

#include "measure/limits.hpp"

#include <chrono>

namespace wsync {

using LimitVariants = std::vector<LimitProbe::Variant>;

[[nodiscard]] Result<LimitVariants> memory_variants(LimitKind kind, const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers);
[[nodiscard]] Result<LimitVariants> socket_variants(const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers);
[[nodiscard]] Result<LimitVariants> disk_variants(LimitKind kind, const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers);

// Bytes per second of one run. A time of zero ticks counts as one.
class RateClock {
public:
    [[nodiscard]] double rate(std::uint64_t bytes) const {
        auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
        return static_cast<double>(bytes) / (seconds > 1e-9 ? seconds : 1e-9);
    }

private:
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace wsync
