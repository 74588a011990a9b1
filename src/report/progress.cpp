#include "wsync/report/progress.hpp"

#include "wsync/report/table.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

// The first characters; never half of one.
std::string_view first_characters(std::string_view text, std::size_t count) {
    std::size_t at = 0;
    for (; at < text.size(); ++at) {
        const bool begins_character = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
        if (begins_character && count-- == 0) break;
    }
    return text.substr(0, at);
}

}  // namespace

std::string progress_bar(double fraction, std::string_view text, std::size_t width) {
    const double share = fraction >= 0 ? std::min(fraction, 1.0) : 0.0;  // not a number is 0
    const std::size_t cells = std::clamp<std::size_t>(width / 3, 4, 24);
    const auto filled = static_cast<std::size_t>(share * static_cast<double>(cells));
    std::string bar;
    for (std::size_t i = 0; i < cells; ++i) bar += i < filled ? "█" : "░";
    bar += fmt::format(" {:3d} %", static_cast<int>(share * 100));
    const std::size_t used = text_width(bar) + 2;
    if (text.empty() || used >= width) return bar;
    return fmt::format("{}  {}", bar, first_characters(text, width - used));
}

}  // namespace wsync
