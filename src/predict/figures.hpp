// How this room writes figures and columns for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wsync {

// As duration_text, but what is under 0.1 ms is written in microseconds.
[[nodiscard]] std::string fine_duration_text(double seconds);
// The tutorial's staged example: "28.0 s", "0.001 s".
[[nodiscard]] std::string stage_text(double seconds);
// "140 GB", "0.5 GB", "72 B".
[[nodiscard]] std::string bytes_text(double bytes);
// A Table of left-aligned cells with `indent` blanks before every line. The first row is the heading.
[[nodiscard]] std::string columns_text(const std::vector<std::vector<std::string>>& rows, std::size_t indent);
// The text broken into lines of at most `width` characters, each with `indent` blanks before and a newline behind.
[[nodiscard]] std::string wrapped(const std::string& text, std::size_t indent, std::size_t width);

}  // namespace wsync
