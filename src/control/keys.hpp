// What a key, a prefix and a value of the control plane may be; the same for every control.
#pragma once

#include "control/control.hpp"

#include <string_view>

namespace wsync {

// Error{invalid_argument} names the key and the rule that it breaks.
[[nodiscard]] Status check_key(std::string_view key);
// A key, or "" for everything.
[[nodiscard]] Status check_prefix(std::string_view prefix);
[[nodiscard]] Status check_value(std::string_view key, std::span<const std::byte> value);
[[nodiscard]] bool is_key_segment(std::string_view segment) noexcept;
// The key is `prefix`, or begins with `prefix` and '/'.
[[nodiscard]] bool key_matches(std::string_view key, std::string_view prefix) noexcept;
// Error{unavailable} of a compare_and_put that lost.
[[nodiscard]] Error revision_mismatch(std::string_view key, Revision expected, Revision found);

}  // namespace wsync
