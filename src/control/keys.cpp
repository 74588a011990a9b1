#include "control/keys.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::size_t kMaxKeyCharacters = 512;
constexpr std::size_t kMaxSegmentCharacters = 128;

bool is_key_character(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '@' || c == '+' ||
           c == '-';
}

Error bad_key(std::string_view key, std::string_view rule) {
    // A hostile key is shown in part and without control characters: errors are one line.
    std::string shown(key.substr(0, 80));
    std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c == 0x7f; }, '?');
    return Error{Code::invalid_argument, fmt::format("control key \"{}\"{}: {}", shown, key.size() > 80 ? "..." : "", rule), {}};
}

}  // namespace

bool is_key_segment(std::string_view segment) noexcept {
    return !segment.empty() && segment.size() <= kMaxSegmentCharacters && segment != "." && segment != ".." &&
           std::all_of(segment.begin(), segment.end(), is_key_character);
}

Status check_key(std::string_view key) {
    if (key.empty()) return bad_key(key, "a key has at least one segment");
    if (key.size() > kMaxKeyCharacters) return bad_key(key, fmt::format("{} characters, the limit is {}", key.size(), kMaxKeyCharacters));
    for (std::size_t at = 0; at <= key.size();) {
        const auto end = std::min(key.find('/', at), key.size());
        if (!is_key_segment(key.substr(at, end - at))) {
            return bad_key(key, "each segment between '/' has 1 to 128 of [A-Za-z0-9._@+-] and is neither \".\" nor \"..\"");
        }
        at = end + 1;
    }
    return {};
}

Status check_prefix(std::string_view prefix) { return prefix.empty() ? Status{} : check_key(prefix); }

Status check_value(std::string_view key, std::span<const std::byte> value) {
    if (value.size() <= kMaxControlValueBytes) return {};
    return Error{Code::invalid_argument,
                 fmt::format("the value of control key \"{}\" has {} bytes, the limit is {}: publish it as a blob", key, value.size(),
                             kMaxControlValueBytes),
                 {}};
}

bool key_matches(std::string_view key, std::string_view prefix) noexcept {
    if (prefix.empty()) return true;
    return key.starts_with(prefix) && (key.size() == prefix.size() || key[prefix.size()] == '/');
}

Error revision_mismatch(std::string_view key, Revision expected, Revision found) {
    return Error{Code::unavailable,
                 fmt::format("control key \"{}\" is at revision {}, not {}: somebody changed it, read it again", key, found, expected),
                 {}};
}

}  // namespace wsync
