#include "predict/figures.hpp"

#include "wsync/predict/compare.hpp"
#include "wsync/report/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace wsync {

std::string fine_duration_text(double seconds) {
    if (seconds > 0 && seconds < 0.0001) return fmt::format("{:.0f} us", std::max(1.0, seconds * 1e6));
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
    if (rows.empty()) return {};
    std::size_t columns = 0;
    for (const auto& row : rows) columns = std::max(columns, row.size());
    std::vector<Table::Column> titles(columns);
    for (std::size_t i = 0; i < rows.front().size(); ++i) titles[i].title = rows.front()[i];
    Table table(std::move(titles));
    for (std::size_t i = 1; i < rows.size(); ++i) table.add(rows[i]);
    std::istringstream lines(table.render());
    std::string text, line;
    while (std::getline(lines, line)) text += std::string(line.empty() ? 0 : indent, ' ') + line + "\n";
    return text;
}

std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
    std::istringstream words(text);
    std::string all, line, word;
    while (words >> word) {
        if (!line.empty() && text_width(line) + 1 + text_width(word) > width) {
            all += std::string(indent, ' ') + line + "\n";
            line.clear();
        }
        line += (line.empty() ? "" : " ") + word;
    }
    if (!line.empty()) all += std::string(indent, ' ') + line + "\n";
    return all;
}

}  // namespace wsync
