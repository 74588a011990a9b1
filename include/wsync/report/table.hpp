// Text tables: columns as wide as what stands in them, counted in characters, not bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wsync {

// Characters on a terminal: UTF-8 code points (combining and wide ones are not used here).
[[nodiscard]] std::size_t text_width(std::string_view text) noexcept;

class Table {
public:
    enum class Align { left, right };
    struct Column {
        std::string title;
        Align align = Align::left;
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    // Missing cells are empty; cells beyond the columns are dropped.
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    // Lines that end in '\n', columns two spaces apart, no trailing spaces.
    [[nodiscard]] std::string render() const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace wsync
