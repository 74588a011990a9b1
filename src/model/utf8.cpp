#include "model/utf8.hpp"

#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <iterator>

namespace wsync {

bool is_utf8(std::string_view text) noexcept {
    const auto* at = reinterpret_cast<const unsigned char*>(text.data());
    const auto* const end = at + text.size();
    auto continues = [&](std::ptrdiff_t i) { return end - at > i && (at[i] & 0xC0) == 0x80; };
    while (at < end) {
        // Names and headers are nearly all ASCII: eight bytes at a time while they are.
        std::uint64_t word;
        while (end - at >= 8 && (std::memcpy(&word, at, 8), (word & 0x8080808080808080ULL) == 0)) at += 8;
        if (at == end) break;
        const unsigned char c = *at;
        if (c < 0x80) {
            at += 1;
        } else if (c >= 0xC2 && c <= 0xDF) {
            if (!continues(1)) return false;
            at += 2;
        } else if (c >= 0xE0 && c <= 0xEF) {
            if (!continues(1) || !continues(2)) return false;
            if ((c == 0xE0 && at[1] < 0xA0) || (c == 0xED && at[1] > 0x9F)) return false;
            at += 3;
        } else if (c >= 0xF0 && c <= 0xF4) {
            if (!continues(1) || !continues(2) || !continues(3)) return false;
            if ((c == 0xF0 && at[1] < 0x90) || (c == 0xF4 && at[1] > 0x8F)) return false;
            at += 4;
        } else {
            return false;
        }
    }
    return true;
}

std::string in_quotes(std::string_view text, std::size_t max_bytes) {
    std::string_view shown = text.substr(0, max_bytes);
    // Not in the middle of a character.
    while (shown.size() < text.size() && !shown.empty() && (static_cast<unsigned char>(text[shown.size()]) & 0xC0) == 0x80) shown.remove_suffix(1);
    const bool utf8 = is_utf8(shown);
    std::string out = "\"";
    for (const char c : shown) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !utf8)) {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
        } else {
            out += c;
        }
    }
    return out + (shown.size() < text.size() ? "...\"" : "\"");
}

}  // namespace wsync
