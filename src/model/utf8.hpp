// Text from outside: is it UTF-8, and how it is shown in a message of one line.
#pragma once

#include <string>
#include <string_view>

namespace wsync {

// By RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

// In double quotes, for messages: control characters as \xNN, bytes that are not UTF-8 too, at most `max_bytes` of it.
[[nodiscard]] std::string in_quotes(std::string_view text, std::size_t max_bytes = 128);

}  // namespace wsync
