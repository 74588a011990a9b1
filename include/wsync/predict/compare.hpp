// `compare`: what every method costs in every placement, by a profile's formula.
//
// Pure functions of values. Nothing here measures, sleeps, or touches a file.
#pragma once

#include "wsync/predict/model_size.hpp"
#include "wsync/predict/profile.hpp"

#include <utility>

namespace wsync {

struct PredictedHop {
    std::string from;
    std::string to;
    std::uint64_t bytes = 0;
    double seconds = 0;  // what the formula gives this hop; 0 where the formula leaves it out
};

struct MethodPrediction {
    Method method;
    double seconds = 0;
    std::string verdict;
    std::optional<double> percent_of_disk;
    bool feasible = true;
    std::string reason;  // why not, if not
    std::vector<std::pair<std::string, double>> stages;
    std::vector<PredictedHop> path;  // its seconds add up to `seconds`
};

struct PlacementComparison {
    Architecture placement = Architecture::co_located;
    std::vector<MethodPrediction> methods;  // all that were asked for, in the profile's order
};

struct Comparison {
    std::string profile;
    std::string origin;
    ModelSize model;
    std::vector<PlacementComparison> placements;
};

struct CompareOptions {
    std::vector<Architecture> placements = {};  // empty: all three
    std::vector<std::string> methods = {};      // ids; empty: all of the profile
};

// Error{invalid_argument} for an unknown method lists the profile's.
[[nodiscard]] Result<Comparison> compare(const Profile& profile, const ModelSize& model, const CompareOptions& options = {});

// "1.0 ms" under 100 ms, "2.85 s" under 60 s, else "11.7 min".
[[nodiscard]] std::string duration_text(double seconds);
// "44.6 %", "0.005 %": one decimal, three under a tenth.
[[nodiscard]] std::string percent_text(double percent);
// "Zero copy!" if nothing is moved, else Excellent under 1 s, Good under 10 s, Acceptable under 60 s, Slow.
[[nodiscard]] std::string verdict_of(const Method& method, double seconds);

// For people: a table for each placement, then the path of every method.
[[nodiscard]] std::string text_of(const Comparison& comparison);
// For people: what a profile holds, one line for each method.
[[nodiscard]] std::string text_of(const Profile& profile);
// wsync.compare/1 (docs/json.md).
[[nodiscard]] std::string json_of(const Comparison& comparison);

}  // namespace wsync
