// Names on disk: ROOT/NAME/vEPOCH.NUMBER, and the temporary ones beside them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace wsync {

// 1 to 128 characters of [A-Za-z0-9._@+-], the first not a dot.
[[nodiscard]] bool is_version_name(std::string_view name) noexcept;

struct VersionNumber {
    std::uint64_t epoch = 0, number = 0;
    friend auto operator<=>(const VersionNumber&, const VersionNumber&) = default;
};
// "v3.17"
[[nodiscard]] std::string directory_name(VersionNumber version);
// Exactly what directory_name gives; nothing for any other name.
[[nodiscard]] std::optional<VersionNumber> parse_directory_name(std::string_view name) noexcept;

// Directories that no reader looks into: what is being written, and retired versions whose files may be used again.
inline constexpr std::string_view kWritingPrefix = ".tmp-";
inline constexpr std::string_view kSparePrefix = ".tmp-spare-";

}  // namespace wsync
