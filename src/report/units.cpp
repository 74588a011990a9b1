#include "wsync/report/units.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

// Three significant digits, as far as they stand behind the point.
std::string three_digits(double value) { return value < 10 ? fmt::format("{:.2f}", value) : value < 100 ? fmt::format("{:.1f}", value) : fmt::format("{:.0f}", value); }

}  // namespace

std::string show_bytes(std::uint64_t bytes) {
    const auto value = static_cast<double>(bytes);
    if (bytes < 1000) return fmt::format("{} B", bytes);
    if (value < 1e6) return three_digits(value / 1e3) + " kB";
    if (value < 1e9) return three_digits(value / 1e6) + " MB";
    if (value < 1e12) return three_digits(value / 1e9) + " GB";
    return three_digits(value / 1e12) + " TB";
}

std::string show_seconds(double seconds) {
    if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
    if (seconds < 1) return three_digits(seconds * 1e3) + " ms";
    if (seconds < 60) return fmt::format("{:.2f} s", seconds);
    return fmt::format("{:.1f} min", seconds / 60);
}

std::string show_rate(double bytes_per_second) { return three_digits(bytes_per_second / 1e9) + " GB/s"; }

std::string show_percent(double share) { return fmt::format("{:.0f} %", share * 100); }

}  // namespace wsync
