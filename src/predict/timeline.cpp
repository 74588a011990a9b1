#include "wsync/predict/timeline.hpp"

#include "wsync/predict/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace wsync {

namespace {

constexpr const char* kOut = "transfer (train → infer)";
constexpr const char* kBack = "transfer (infer ← train)";

Status check(const char* what, double seconds) {
    if (std::isfinite(seconds) && seconds >= 0 && seconds <= 1e9) return {};
    return Error{Code::invalid_argument, fmt::format("{} of {} is not a time: give seconds from 0 to 1e9, such as 30 or 0.5", what, seconds), {}};
}

char fill_of(const Phase& phase) {
    if (phase.name == kOut) return '>';
    if (phase.name == kBack) return '<';
    return phase.name == "training" ? '#' : '=';
}

}  // namespace

Result<Timeline> timeline(const Profile& profile, const ModelSize& model, std::string_view method_id, const TimelineOptions& options) {
    WSYNC_TRY(const Method method, profile.find(method_id));
    WSYNC_TRY_VOID(check("generation", options.generation_seconds));
    WSYNC_TRY_VOID(check("training", options.training_seconds));
    Timeline line;
    line.profile = profile.name;
    line.model = model;
    line.method = method.id;
    line.method_name = method.name;
    line.generation_seconds = options.generation_seconds;
    line.training_seconds = options.training_seconds;
    line.transfer_seconds = method.seconds(model.gigabytes);
    line.transfers_per_iteration = profile.transfers_per_iteration;
    line.transfers_reason = profile.transfers_reason;
    if (line.transfers_per_iteration == 2) {
        line.phases = {{"generation", line.generation_seconds}, {kOut, line.transfer_seconds}, {"training", line.training_seconds}, {kBack, line.transfer_seconds}};
    } else {
        line.phases = {{"generation", line.generation_seconds}, {"training", line.training_seconds}, {kOut, line.transfer_seconds}};
    }
    for (const auto& phase : line.phases) line.iteration_seconds += phase.seconds;
    if (line.iteration_seconds > 0) line.overhead_percent = 100.0 * line.transfers_per_iteration * line.transfer_seconds / line.iteration_seconds;
    return line;
}

Result<std::vector<Timeline>> timelines(const Profile& profile, const ModelSize& model, const TimelineOptions& options) {
    std::vector<Timeline> lines;
    for (const auto& id : profile.timeline_methods) {
        WSYNC_TRY(Timeline line, timeline(profile, model, id, options));
        lines.push_back(std::move(line));
    }
    return lines;
}

std::string bar_of(const Timeline& line, unsigned columns) {
    columns = std::max(columns, 16u);
    std::vector<unsigned> widths;
    unsigned used = 0;
    for (const auto& phase : line.phases) {
        const double share = line.iteration_seconds > 0 ? phase.seconds / line.iteration_seconds : 0;
        unsigned width = static_cast<unsigned>(std::lround(share * columns));
        if (phase.seconds > 0 && width == 0) width = 1;
        widths.push_back(width);
        used += width;
    }
    // Rounding and the columns that short phases were given are taken from or added to the longest.
    if (!widths.empty()) {
        auto longest = std::max_element(widths.begin(), widths.end());
        *longest = *longest + columns - used;
    }
    std::string bar = "|";
    for (std::size_t i = 0; i < widths.size(); ++i) {
        if (widths[i] == 0) continue;
        std::string cell(widths[i], fill_of(line.phases[i]));
        const std::string label = fmt::format(" {} ", line.phases[i].name.substr(0, line.phases[i].name.find(' ')));
        if (label.size() + 2 <= cell.size()) cell.replace((cell.size() - label.size()) / 2, label.size(), label);
        bar += cell + "|";
    }
    return bar;
}

std::string iteration_text(double seconds) {
    std::string text = fmt::format("{:.3f}", seconds);
    if (text.back() == '0') text.pop_back();
    text += " s";
    if (seconds >= 60) text += fmt::format(" ({})", duration_text(seconds));
    return text;
}

std::string overhead_text(double percent) {
    std::string text = fmt::format("{:.1f} %", percent);
    if (percent < 0.05) text += fmt::format(" ({:.3f})", percent);
    return text;
}

}  // namespace wsync
