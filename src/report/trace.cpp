#include "wsync/report/trace.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace wsync {
namespace {

using Json = nlohmann::ordered_json;

Json span_of(std::string_view name, std::string_view category, std::size_t row, double begin_seconds, double seconds) {
    return {{"name", name}, {"cat", category}, {"ph", "X"}, {"pid", 1}, {"tid", row}, {"ts", begin_seconds * 1e6}, {"dur", seconds * 1e6}};
}

}  // namespace

std::string to_chrome_trace(std::span<const TracedSync> syncs) {
    Json events = Json::array();
    std::vector<std::string> rows;
    for (const auto& sync : syncs) {
        if (sync.report == nullptr) continue;
        auto at = std::find(rows.begin(), rows.end(), sync.row);
        const auto row = static_cast<std::size_t>(at - rows.begin()) + 1;
        if (at == rows.end()) {
            rows.push_back(sync.row);
            events.push_back({{"name", "thread_name"}, {"ph", "M"}, {"pid", 1}, {"tid", row}, {"args", {{"name", sync.row}}}});
        }
        const auto& report = *sync.report;
        auto whole = span_of(report.version, "sync", row, sync.begin_seconds, report.seconds());
        whole["args"] = {{"method", report.method},           {"transport", report.transport},
                         {"step", report.step},               {"bytes_needed", report.bytes_needed},
                         {"bytes_moved", report.bytes_moved}, {"verification", name_of(report.verification)}};
        events.push_back(std::move(whole));
        double begin = sync.begin_seconds;
        for (int i = 0; i < kStageCount; ++i) {
            const auto stage = static_cast<Stage>(i);
            const double seconds = report.stages[stage];
            if (seconds > 0) events.push_back(span_of(name_of(stage), "stage", row, begin, seconds));
            begin += seconds;
        }
    }
    const Json json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace wsync
