#include "wsync/report/units.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

// Three significant digits, as far as they stand behind the point; the limits lie where rounding adds a digit.
std::string three_digits(double value) {
    if (value < 9.995) return fmt::format("{:.2f}", value);
    if (value < 99.95) return fmt::format("{:.1f}", value);
    return fmt::format("{:.0f}", value);
}

// What "{:.0f}" still shows as 999.
constexpr double kThousand = 999.5;

}  // namespace

std::string show_bytes(std::uint64_t bytes) {
    if (bytes < 1000) return fmt::format("{} B", bytes);
    const char* const units[] = {"kB", "MB", "GB", "TB"};
    auto value = static_cast<double>(bytes) / 1e3;
    std::size_t unit = 0;
    for (; unit < 3 && value >= kThousand; ++unit) value /= 1e3;
    return fmt::format("{} {}", three_digits(value), units[unit]);
}

std::string show_seconds(double seconds) {
    if (seconds * 1e6 < kThousand) return fmt::format("{:.0f} us", seconds * 1e6);
    if (seconds * 1e3 < kThousand) return three_digits(seconds * 1e3) + " ms";
    if (seconds < 59.995) return fmt::format("{:.2f} s", seconds);
    return fmt::format("{:.1f} min", seconds / 60);
}

std::string show_rate(double bytes_per_second) { return three_digits(bytes_per_second / 1e9) + " GB/s"; }

std::string show_percent(double share) { return fmt::format("{:.0f} %", share * 100); }

}  // namespace wsync
