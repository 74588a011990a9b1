// Quantities as people read them. GB is 1e9 bytes, as everywhere in wsync.
#pragma once

#include <cstdint>
#include <string>

namespace wsync {

[[nodiscard]] std::string show_bytes(std::uint64_t bytes);             // "72 B", "90.9 MB", "1.03 GB"
[[nodiscard]] std::string show_seconds(double seconds);                // "38 us", "11.3 ms", "2.85 s", "11.7 min"
[[nodiscard]] std::string show_rate(double bytes_per_second);          // "12.4 GB/s"
[[nodiscard]] std::string show_percent(double share);                  // 0.931: "93 %"

}  // namespace wsync
