// A Mapping with its names looked up and its rules proved: what each sink tensor is made of.
#pragma once

#include "wsync/plan/plan.hpp"

#include <span>
#include <vector>

namespace wsync {

struct MappedPart {
    std::uint32_t sink_tensor = 0;
    std::uint32_t source_tensor = 0;  // of a copy
    bool fill = false;
    std::byte value{};                // of a fill
    Box sink_box, source_box;         // equal sizes; of a fill only the sink's
};

class ResolvedMapping {
public:
    // Proves: every name is known, types are equal, boxes lie inside their tensors, have equal sizes and end on whole
    // bytes, and no two of one sink tensor overlap. That they cover what is wanted is make_plan's to prove.
    [[nodiscard]] static Result<ResolvedMapping> make(const Manifest& source, const Manifest& sink, const Mapping& mapping);

    // The parts of a sink tensor, by offset.
    [[nodiscard]] std::span<const MappedPart> parts_of(std::uint32_t sink_tensor) const noexcept {
        return std::span(parts_).subspan(first_[sink_tensor], first_[sink_tensor + 1] - first_[sink_tensor]);
    }

private:
    ResolvedMapping() = default;
    std::vector<MappedPart> parts_;
    std::vector<std::size_t> first_;  // sink tensors + 1
};

}  // namespace wsync
