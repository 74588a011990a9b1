// What a cost formula knows about a machine: the methods, their bandwidths and set-up times, as data.
//
// Three kinds: `tutorial` and `tutorial-stages` hold the tutorial's own figures; a measured profile is made from a
// wsync.bench/1 document (measured.hpp). All three go through the same functions. Plain values.
#pragma once

#include "wsync/base/result.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

// Where trainer and inference run: the three placements that the field calls architectures.
enum class Architecture : std::uint8_t { co_located, disaggregated_same_node, disaggregated_cross_node };
inline constexpr std::array<Architecture, 3> kArchitectures = {Architecture::co_located, Architecture::disaggregated_same_node,
                                                               Architecture::disaggregated_cross_node};
// "co-located", "disaggregated-same-node", "disaggregated-cross-node".
[[nodiscard]] std::string_view name_of(Architecture architecture) noexcept;
// One line: who runs where.
[[nodiscard]] std::string_view description_of(Architecture architecture) noexcept;
// By name; Error{invalid_argument} lists the three.
[[nodiscard]] Result<Architecture> architecture_from_name(std::string_view name);

// One hop of a method's path.
struct HopRule {
    std::string from;
    std::string to;
    bool moves_bytes = true;  // false: the receiver is given a reference
};

// A part of a method's time: size / bandwidth (if there is one) + a fixed part; it is spent on one hop of the path.
struct CostTerm {
    std::string name = {};
    std::optional<double> gigabytes_per_second = {};
    double fixed_seconds = 0;
    std::size_t hop = 0;

    [[nodiscard]] double seconds(double gigabytes) const noexcept {
        return (gigabytes_per_second ? gigabytes / *gigabytes_per_second : 0.0) + fixed_seconds;
    }
};

struct Method {
    std::string id = {};
    std::string name = {};
    std::string description = {};
    std::optional<double> gigabytes_per_second = {};  // none: no transfer at all
    double setup_ms = 0;
    bool works_across_nodes = false;
    bool works_same_gpu = false;
    std::optional<std::string> link = {};
    std::vector<HopRule> path = {};
    std::vector<CostTerm> terms = {};  // they add up to the method's time
    bool staged = false;          // the terms are stages to be shown
    std::string why_not_across_nodes = {};
    std::string why_not_same_gpu = {};

    [[nodiscard]] double seconds(double gigabytes) const noexcept;
    // None if the method works there, else the reason.
    [[nodiscard]] std::optional<std::string> obstacle(Architecture architecture) const;
};

struct Profile {
    std::string name;    // "tutorial", "tutorial-stages", or the document that it was made from
    std::string origin;  // one line: whose figures these are
    std::vector<Method> methods;
    std::string reference_method;                // what "percent of disk" refers to; empty: there is none
    std::vector<std::string> timeline_methods;   // what `timeline` shows when no method is named
    unsigned transfers_per_iteration = 1;
    std::string transfers_reason;                // one sentence: why so many

    // By id; Error{invalid_argument} lists the ids of this profile.
    [[nodiscard]] Result<Method> find(std::string_view id) const;
};

// "tutorial", "tutorial-stages".
[[nodiscard]] std::vector<std::string> profile_names();
// By name; Error{not_found} lists them and says that a wsync.bench/1 file is a profile too.
[[nodiscard]] Result<Profile> profile_from_name(std::string_view name);
[[nodiscard]] Profile tutorial_profile();
[[nodiscard]] Profile tutorial_stages_profile();

}  // namespace wsync
