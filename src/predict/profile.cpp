#include "wsync/predict/profile.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace wsync {

std::string_view name_of(Architecture architecture) noexcept {
    switch (architecture) {
        case Architecture::co_located: return "co-located";
        case Architecture::disaggregated_same_node: return "disaggregated-same-node";
        case Architecture::disaggregated_cross_node: return "disaggregated-cross-node";
    }
    return "?";
}

std::string_view description_of(Architecture architecture) noexcept {
    switch (architecture) {
        case Architecture::co_located: return "trainer and inference share one GPU, in different processes";
        case Architecture::disaggregated_same_node: return "different GPUs of one host";
        case Architecture::disaggregated_cross_node: return "different hosts";
    }
    return "?";
}

Result<Architecture> architecture_from_name(std::string_view name) {
    std::vector<std::string_view> known;
    for (const auto architecture : kArchitectures) {
        if (name_of(architecture) == name) return architecture;
        known.push_back(name_of(architecture));
    }
    return Error{Code::invalid_argument, fmt::format("unknown placement '{}': there are {}", name, fmt::join(known, ", ")), {}};
}

double Method::seconds(double gigabytes) const noexcept {
    double sum = 0;
    for (const auto& term : terms) sum += term.seconds(gigabytes);
    return sum;
}

std::optional<std::string> Method::obstacle(Architecture architecture) const {
    switch (architecture) {
        case Architecture::co_located:
            if (!works_same_gpu) return why_not_same_gpu.empty() ? "does not work on one GPU" : why_not_same_gpu;
            return std::nullopt;
        case Architecture::disaggregated_same_node: return std::nullopt;
        case Architecture::disaggregated_cross_node:
            if (!works_across_nodes) return why_not_across_nodes.empty() ? "does not work across nodes" : why_not_across_nodes;
            return std::nullopt;
    }
    return std::nullopt;
}

Result<Method> Profile::find(std::string_view id) const {
    std::vector<std::string_view> known;
    for (const auto& method : methods) {
        if (method.id == id) return method;
        known.push_back(method.id);
    }
    return Error{Code::invalid_argument, fmt::format("unknown method '{}': profile {} has {}", id, name, fmt::join(known, ", ")), {}};
}

std::vector<std::string> profile_names() { return {"tutorial", "tutorial-stages"}; }

Result<Profile> profile_from_name(std::string_view name) {
    if (name == "tutorial") return tutorial_profile();
    if (name == "tutorial-stages") return tutorial_stages_profile();
    return Error{Code::not_found,
                 fmt::format("unknown profile '{}': there are {}, or the path of what `wsync bench --json` wrote", name, fmt::join(profile_names(), ", ")),
                 {}};
}

}  // namespace wsync
