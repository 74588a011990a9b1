#include "predict/figures.hpp"
#include "wsync/predict/compare.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace wsync {

namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string rate_text(const Method& method) {
    return method.gigabytes_per_second ? fmt::format("{:.4g}", *method.gigabytes_per_second) : std::string("no transfer");
}

std::string model_text(const ModelSize& model) {
    const std::string size = bytes_text(static_cast<double>(model.bytes));
    return size == model.name ? size : fmt::format("{} ({})", size, model.name);
}

std::string setup_text(double setup_ms) { return setup_ms == 0 ? "-" : fmt::format("{:.3g} ms", setup_ms); }

std::string stages_text(const MethodPrediction& prediction) {
    std::string text;
    for (const auto& [name, seconds] : prediction.stages) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, stage_text(seconds));
    return text;
}

std::string placement_text(const PlacementComparison& placement) {
    const bool staged = std::any_of(placement.methods.begin(), placement.methods.end(), [](const auto& m) { return !m.stages.empty(); });
    Rows rows = {{"method", "link", "GB/s", "set-up", "time", "of disk", "note"}};
    if (staged) rows.front().push_back("stages");
    std::string excluded;
    for (const auto& prediction : placement.methods) {
        const Method& method = prediction.method;
        if (!prediction.feasible) {
            excluded += fmt::format("  not here: {}: {}\n", method.name, prediction.reason);
            continue;
        }
        rows.push_back({method.name, method.link.value_or("-"), rate_text(method), setup_text(method.setup_ms), fine_duration_text(prediction.seconds),
                        prediction.percent_of_disk ? percent_text(*prediction.percent_of_disk) : "-", prediction.verdict});
        if (staged) rows.back().push_back(stages_text(prediction));
    }
    std::string text = fmt::format("{}: {}\n", name_of(placement.placement), description_of(placement.placement));
    if (rows.size() > 1) text += columns_text(rows, 2);
    return text + excluded;
}

std::string path_line(const MethodPrediction& prediction) {
    std::string line = prediction.path.empty() ? "" : prediction.path.front().from;
    for (const auto& hop : prediction.path) line += fmt::format(" → {}", hop.to);
    return line;
}

std::string paths_text(const std::vector<MethodPrediction>& predictions) {
    std::string text = "the path of the bytes, hop by hop (-: the formula gives this hop no time of its own)\n";
    for (const auto& prediction : predictions) {
        text += fmt::format("  {}: {}\n", prediction.method.name, path_line(prediction));
        Rows rows;
        for (const auto& hop : prediction.path) {
            rows.push_back({fmt::format("{} → {}", hop.from, hop.to), bytes_text(static_cast<double>(hop.bytes)),
                            hop.seconds > 0 ? fine_duration_text(hop.seconds) : std::string("-")});
        }
        text += columns_text(rows, 4);
    }
    return text;
}

}  // namespace

std::string text_of(const Comparison& comparison) {
    std::string text = fmt::format("weight transfer of {}, profile {}\n{}\n", model_text(comparison.model), comparison.profile, comparison.origin);
    for (const auto& placement : comparison.placements) text += "\n" + placement_text(placement);
    // Every placement has the same methods by the same paths: they are shown once.
    if (!comparison.placements.empty()) text += "\n" + paths_text(comparison.placements.front().methods);
    return text;
}

std::string text_of(const Profile& profile) {
    Rows rows = {{"id", "name", "description", "GB/s", "set-up", "across nodes", "same GPU", "link"}};
    for (const auto& method : profile.methods) {
        rows.push_back({method.id, method.name, method.description, rate_text(method), setup_text(method.setup_ms), method.works_across_nodes ? "yes" : "no",
                        method.works_same_gpu ? (method.gigabytes_per_second ? "yes" : "yes (same only)") : "no", method.link.value_or("-")});
    }
    return fmt::format("profile {}: {}\n\n{}", profile.name, profile.origin, columns_text(rows, 0));
}

}  // namespace wsync
