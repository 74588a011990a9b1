// How this room writes figures and columns for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wsync {

// As duration_text, but what that rule would show as 0.0 ms is written in microseconds.
[[nodiscard]] std::string fine_duration_text(double seconds);
// The tutorial's staged example: "28.0 s", "0.001 s".
[[nodiscard]] std::string stage_text(double seconds);
// "140 GB", "0.5 GB", "72 B".
[[nodiscard]] std::string bytes_text(double bytes);
// Columns aligned to their widest cell, two blanks between them, no blanks at the end of a line; `indent` blanks before.
// The first row is the heading. Cells are UTF-8, every character one column wide.
[[nodiscard]] std::string columns_text(const std::vector<std::vector<std::string>>& rows, std::size_t indent);
// The text broken into lines of at most `width` characters, each with `indent` blanks before and a newline behind.
[[nodiscard]] std::string wrapped(const std::string& text, std::size_t indent, std::size_t width);

}  // namespace wsync
