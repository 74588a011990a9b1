#include "wsync/predict/compare.hpp"

#include <fmt/format.h>

namespace wsync {

namespace {

MethodPrediction predict_one(const Method& method, const ModelSize& model, std::optional<double> reference_seconds) {
    MethodPrediction prediction;
    prediction.method = method;
    prediction.seconds = method.seconds(model.gigabytes);
    prediction.verdict = verdict_of(method, prediction.seconds);
    if (reference_seconds && *reference_seconds > 0) prediction.percent_of_disk = 100.0 * prediction.seconds / *reference_seconds;
    for (const auto& hop : method.path) prediction.path.push_back({hop.from, hop.to, hop.moves_bytes ? model.bytes : 0, 0});
    for (const auto& term : method.terms) {
        const double seconds = term.seconds(model.gigabytes);
        if (term.hop < prediction.path.size()) prediction.path[term.hop].seconds += seconds;
        if (method.staged) prediction.stages.emplace_back(term.name, seconds);
    }
    return prediction;
}

}  // namespace

Result<Comparison> compare(const Profile& profile, const ModelSize& model, const CompareOptions& options) {
    std::optional<double> reference_seconds;
    if (!profile.reference_method.empty()) {
        WSYNC_TRY(const Method reference, profile.find(profile.reference_method));
        reference_seconds = reference.seconds(model.gigabytes);
    }
    for (const auto& id : options.methods) {
        if (auto found = profile.find(id); !found.has_value()) return std::move(found).error();
    }
    std::vector<MethodPrediction> predictions;
    for (const auto& method : profile.methods) {
        bool wanted = options.methods.empty();
        for (const auto& id : options.methods) wanted = wanted || id == method.id;
        if (wanted) predictions.push_back(predict_one(method, model, reference_seconds));
    }

    Comparison comparison{profile.name, profile.origin, model, {}};
    for (const auto placement : kArchitectures) {
        bool wanted = options.placements.empty();
        for (const auto asked : options.placements) wanted = wanted || asked == placement;
        if (!wanted) continue;
        PlacementComparison row{placement, predictions};
        for (auto& prediction : row.methods) {
            if (auto obstacle = prediction.method.obstacle(placement)) {
                prediction.feasible = false;
                prediction.reason = std::move(*obstacle);
            }
        }
        comparison.placements.push_back(std::move(row));
    }
    return comparison;
}

std::string duration_text(double seconds) {
    if (seconds < 0.1) return fmt::format("{:.1f} ms", seconds * 1000);
    if (seconds < 60) return fmt::format("{:.2f} s", seconds);
    return fmt::format("{:.1f} min", seconds / 60);
}

std::string percent_text(double percent) {
    if (percent > 0 && percent < 0.0005) return "< 0.001 %";
    return percent < 0.1 ? fmt::format("{:.3f} %", percent) : fmt::format("{:.1f} %", percent);
}

std::string verdict_of(const Method& method, double seconds) {
    bool moves = false;
    for (const auto& hop : method.path) moves = moves || hop.moves_bytes;
    if (!moves) return "Zero copy!";
    if (seconds < 1) return "Excellent";
    if (seconds < 10) return "Good";
    if (seconds < 60) return "Acceptable";
    return "Slow";
}

}  // namespace wsync
