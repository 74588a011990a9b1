// Where the time of a sync goes: one bar, a letter for each stage.
#pragma once

#include "wsync/report/sync_report.hpp"

namespace wsync {

// `width` characters shared out by the stages' seconds ("ppppmmmmmmmmv"), then the stages that take more than 1 %:
// "prepare 12 ms, move 88 ms, verify 3 ms". `scale_seconds`: what `width` stands for; 0: the stages' own total.
[[nodiscard]] std::string stage_bar(const StageSeconds& stages, std::size_t width, double scale_seconds = 0);
[[nodiscard]] std::string stage_words(const StageSeconds& stages);

}  // namespace wsync
