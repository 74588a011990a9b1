// Which bytes go from where to where. No addresses, no threads, no files.
//
// make_plan is a pure function of two layouts and a mapping. Each byte of the sink is written exactly once (by a copy
// or a fill), each copy moves values without changing them, sources that hold replicas share the load, and steps are
// ordered by the sink's tensor order, so that layers complete one after the other. A plan is a plain value: it can be
// printed, digested and compared, and is computed once, not per step.
#pragma once

#include "wsync/model/layout.hpp"

#include <string>
#include <vector>

namespace wsync {

struct Copy {
    std::uint32_t source_shard = 0;  // index in source.shards(): the rank and the box that hold it
    std::uint32_t sink_shard = 0;    // index in sink.shards()
    Box source_box;                  // in the source tensor's coordinates
    Box sink_box;                    // in the sink tensor's coordinates; same size as source_box
    friend bool operator==(const Copy&, const Copy&) = default;
};

struct Fill {
    std::uint32_t sink_shard = 0;
    Box sink_box;
    std::byte value{};               // each byte of the box
    friend bool operator==(const Fill&, const Fill&) = default;
};

// How a sink tensor is made of source tensors. Boxes in each tensor's own coordinates, of equal size.
struct MappedBox {
    std::string sink;
    Box sink_box;
    std::string source;              // empty: fill with `value`
    Box source_box;
    std::byte value{};
};
// By name: every sink tensor is the source tensor of the same name, type and shape. Otherwise the listed boxes.
struct Mapping {
    std::vector<MappedBox> boxes;    // empty: by name
};

struct PlanOptions {
    // Which sink ranks the plan is for; empty: all. A receiver plans for itself alone.
    std::vector<std::uint32_t> sink_ranks{};
    // Replicas are spread by bytes; this rotates the choice, so that receivers which plan alone spread too.
    std::uint32_t replica_seed = 0;
};

class Plan {
public:
    Plan() = default;
    [[nodiscard]] const std::vector<Copy>& copies() const noexcept { return copies_; }
    [[nodiscard]] const std::vector<Fill>& fills() const noexcept { return fills_; }
    [[nodiscard]] std::uint64_t copied_bytes() const noexcept { return copied_bytes_; }
    [[nodiscard]] std::uint64_t filled_bytes() const noexcept { return filled_bytes_; }
    // Bytes that each source rank sends, each sink rank receives.
    [[nodiscard]] const std::vector<std::uint64_t>& bytes_by_source() const noexcept { return by_source_; }
    [[nodiscard]] const std::vector<std::uint64_t>& bytes_by_sink() const noexcept { return by_sink_; }
    // Of the layouts' digests and every step.
    [[nodiscard]] const Digest& digest() const noexcept { return digest_; }
    // A few lines for people: copies, bytes, the load of each rank.
    [[nodiscard]] std::string summary(const Layout& source, const Layout& sink) const;
    friend bool operator==(const Plan& a, const Plan& b) { return a.copies_ == b.copies_ && a.fills_ == b.fills_; }

private:
    friend Result<Plan> make_plan(const Layout&, const Layout&, const Mapping&, const PlanOptions&);
    std::vector<Copy> copies_;
    std::vector<Fill> fills_;
    std::uint64_t copied_bytes_ = 0, filled_bytes_ = 0;
    std::vector<std::uint64_t> by_source_, by_sink_;
    Digest digest_{};
};

// Error{invalid_argument} names the tensor and box that no source holds, that would be written twice, or whose type or
// shape differs; Error{not_found} a sink tensor that the source lacks.
[[nodiscard]] Result<Plan> make_plan(const Layout& source, const Layout& sink, const Mapping& mapping = {}, const PlanOptions& options = {});

}  // namespace wsync
