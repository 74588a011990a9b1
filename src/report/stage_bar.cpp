#include "wsync/report/stage_bar.hpp"

#include "wsync/report/units.hpp"

#include <cmath>

namespace wsync {

std::string stage_bar(const StageSeconds& stages, std::size_t width, double scale_seconds) {
    const double scale = scale_seconds > 0 ? scale_seconds : stages.total();
    std::string bar;
    if (scale <= 0) return bar;
    double until = 0;
    for (int i = 0; i < kStageCount; ++i) {
        const auto stage = static_cast<Stage>(i);
        until += stages[stage];
        const auto end = static_cast<std::size_t>(std::lround(until / scale * static_cast<double>(width)));
        while (bar.size() < end && bar.size() < width) bar += name_of(stage).front();
    }
    return bar;
}

std::string stage_words(const StageSeconds& stages) {
    std::string words;
    const double total = stages.total();
    for (int i = 0; i < kStageCount; ++i) {
        const auto stage = static_cast<Stage>(i);
        if (total <= 0 || stages[stage] < total * 0.01) continue;
        if (!words.empty()) words += ", ";
        words += std::string(name_of(stage)) + " " + show_seconds(stages[stage]);
    }
    return words;
}

}  // namespace wsync
