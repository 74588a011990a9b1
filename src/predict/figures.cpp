#include "predict/figures.hpp"

#include "wsync/predict/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace wsync {

namespace {

// Characters, not bytes: continuation bytes take no column.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string fine_duration_text(double seconds) {
    if (seconds > 0 && seconds < 0.00005) return fmt::format("{:.0f} us", std::max(1.0, seconds * 1e6));
    return duration_text(seconds);
}

std::string stage_text(double seconds) { return seconds < 0.05 ? fmt::format("{:.3f} s", seconds) : fmt::format("{:.1f} s", seconds); }

std::string bytes_text(double bytes) {
    if (bytes >= 1e9) return fmt::format("{:.6g} GB", bytes / 1e9);
    if (bytes >= 1e8) return fmt::format("{:.4g} GB", bytes / 1e9);
    if (bytes >= 1e6) return fmt::format("{:.4g} MB", bytes / 1e6);
    if (bytes >= 1e3) return fmt::format("{:.4g} KB", bytes / 1e3);
    return fmt::format("{:.0f} B", bytes);
}

std::string columns_text(const std::vector<std::vector<std::string>>& rows, std::size_t indent) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
    }
    std::string text;
    for (const auto& row : rows) {
        std::string line(indent, ' ');
        for (std::size_t i = 0; i < row.size(); ++i) line += row[i] + std::string(widths[i] - width_of(row[i]) + 2, ' ');
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
    std::istringstream words(text);
    std::string all, line, word;
    while (words >> word) {
        if (!line.empty() && width_of(line) + 1 + width_of(word) > width) {
            all += std::string(indent, ' ') + line + "\n";
            line.clear();
        }
        line += (line.empty() ? "" : " ") + word;
    }
    if (!line.empty()) all += std::string(indent, ' ') + line + "\n";
    return all;
}

}  // namespace wsync
