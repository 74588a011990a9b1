#include "wsync/report/table.hpp"

#include <algorithm>

namespace wsync {

std::size_t text_width(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string Table::render() const {
    std::vector<std::size_t> widths;
    for (const auto& column : columns_) widths.push_back(text_width(column.title));
    for (const auto& row : rows_)
        for (std::size_t c = 0; c < std::min(row.size(), widths.size()); ++c) widths[c] = std::max(widths[c], text_width(row[c]));
    std::string text;
    const auto line = [&](const auto& cell_at) {
        std::string out;
        for (std::size_t c = 0; c < columns_.size(); ++c) {
            const std::string_view cell = cell_at(c);
            const std::string padding(widths[c] - text_width(cell), ' ');
            if (c > 0) out += "  ";
            if (columns_[c].align == Align::right) out += padding;
            out += cell;
            if (columns_[c].align == Align::left) out += padding;
        }
        out.erase(out.find_last_not_of(' ') + 1);
        text += out + '\n';
    };
    line([&](std::size_t c) -> std::string_view { return columns_[c].title; });
    for (const auto& row : rows_) line([&](std::size_t c) -> std::string_view { return c < row.size() ? std::string_view(row[c]) : std::string_view(); });
    return text;
}

}  // namespace wsync
