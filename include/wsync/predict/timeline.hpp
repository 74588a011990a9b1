// `timeline`: one RLHF iteration of generation, training and weight transfer, by a profile's formula.
//
// Pure functions of values.
#pragma once

#include "wsync/predict/model_size.hpp"
#include "wsync/predict/profile.hpp"

namespace wsync {

struct TimelineOptions {
    double generation_seconds = 30;
    double training_seconds = 20;
};

struct Phase {
    std::string name;  // "generation", "transfer (train → infer)", "training", "transfer (infer ← train)"
    double seconds = 0;
};

struct Timeline {
    std::string profile;
    ModelSize model;
    std::string method;
    std::string method_name;
    double generation_seconds = 0;
    double training_seconds = 0;
    double transfer_seconds = 0;  // of one transfer
    unsigned transfers_per_iteration = 1;
    double iteration_seconds = 0;
    double overhead_percent = 0;  // 100 x all transfers / iteration
    std::string transfers_reason;
    std::vector<Phase> phases;    // in the order in which they are drawn
};

// Error{invalid_argument}: unknown method (lists the profile's), or seconds that are negative or not finite.
[[nodiscard]] Result<Timeline> timeline(const Profile& profile, const ModelSize& model, std::string_view method_id,
                                        const TimelineOptions& options = {});
// One for each of the profile's timeline methods.
[[nodiscard]] Result<std::vector<Timeline>> timelines(const Profile& profile, const ModelSize& model, const TimelineOptions& options = {});

// The iteration drawn to scale, `columns` wide (at least 16): every phase that takes time has at least one column.
[[nodiscard]] std::string bar_of(const Timeline& timeline, unsigned columns = 76);
// "50.002 s", "55.70 s", "1451.00 s (24.2 min)": to the millisecond where that says something.
[[nodiscard]] std::string iteration_text(double seconds);
// "10.2 %", "0.0 % (0.004)".
[[nodiscard]] std::string overhead_text(double percent);

[[nodiscard]] std::string text_of(const Timeline& timeline);
// wsync.timeline/1 (docs/json.md): one object, or an array of them.
[[nodiscard]] std::string json_of(const Timeline& timeline);
[[nodiscard]] std::string json_of(const std::vector<Timeline>& timelines);

}  // namespace wsync
