#include "wsync/report/metrics_text.hpp"

#include <fmt/format.h>
#include <iterator>

namespace wsync {
namespace {

std::string escaped(std::string_view value) {
    std::string text;
    for (const char c : value) {
        if (c == '\\' || c == '"') text += '\\';
        if (c == '\n') {
            text += "\\n";
        } else {
            text += c;
        }
    }
    return text;
}

class Exposition {
public:
    explicit Exposition(const SyncReport& report) : labels_(fmt::format("name=\"{}\",method=\"{}\"", escaped(report.name), escaped(report.method))) {}

    void begin(std::string_view metric, std::string_view help) {
        metric_ = metric;
        fmt::format_to(std::back_inserter(text_), "# HELP {0} {1}\n# TYPE {0} gauge\n", metric, help);
    }
    template <class Number>
    void add(Number value, std::string_view label = {}, std::string_view label_value = {}) {
        fmt::format_to(std::back_inserter(text_), "{}{{{}", metric_, labels_);
        if (!label.empty()) fmt::format_to(std::back_inserter(text_), ",{}=\"{}\"", label, escaped(label_value));
        fmt::format_to(std::back_inserter(text_), "}} {}\n", value);
    }
    template <class Number>
    void gauge(std::string_view metric, std::string_view help, Number value) {
        begin(metric, help);
        add(value);
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    std::string labels_, metric_, text_;
};

}  // namespace

std::string to_metrics_text(const SyncReport& latest) {
    Exposition out(latest);
    out.gauge("wsync_sync_seconds", "Total time of the newest sync.", latest.seconds());
    out.begin("wsync_stage_seconds", "Time of the newest sync by stage; exclusive, they add up to the total.");
    for (int i = 0; i < kStageCount; ++i) {
        const auto stage = static_cast<Stage>(i);
        out.add(latest.stages[stage], "stage", name_of(stage));
    }
    out.gauge("wsync_step", "Training step of the active weights.", latest.step);
    out.gauge("wsync_bytes_needed", "Bytes of the receiver's tensors.", latest.bytes_needed);
    out.gauge("wsync_bytes_moved", "Bytes copied or sent by the newest sync.", latest.bytes_moved);
    out.gauge("wsync_blocks_reused", "Blocks not moved since their digests agreed.", latest.blocks_reused);
    out.gauge("wsync_blocks_verified", "Blocks whose digests were compared.", latest.blocks_verified);
    if (!latest.peak_extra_bytes.empty()) {
        out.begin("wsync_peak_extra_bytes", "Peak extra memory of the newest sync by role.");
        for (const auto& [role, bytes] : latest.peak_extra_bytes) out.add(bytes, "role", role);
    }
    out.gauge("wsync_trainer_blocked_seconds", "Time the trainer waited in begin_write and publish.", latest.trainer_blocked_seconds);
    out.gauge("wsync_engine_stalled_seconds", "Time from pause to resume of the engine.", latest.engine_stalled_seconds);
    out.begin("wsync_verification", "What the newest sync proved; the level is the label.");
    out.add(1, "level", name_of(latest.verification));
    return out.take();
}

}  // namespace wsync
