// The steps of a plan, made one sink shard at a time.
#pragma once

#include "plan/mapping.hpp"
#include "plan/replicas.hpp"
#include "plan/source_index.hpp"

namespace wsync {

// The numbers of the sink's shards that a plan is for, by (tensor, rank, offset).
struct SinkShards {
    std::vector<std::uint32_t> shards;
    std::vector<std::size_t> first;  // tensors + 1

    SinkShards(const Layout& sink, const std::vector<bool>& planned_ranks);
    [[nodiscard]] bool wants(std::uint32_t tensor) const noexcept { return first[tensor] != first[tensor + 1]; }
};

// Borrows the layouts and the mapping. One use: run(), then read the results.
class Planner {
public:
    Planner(const Layout& source, const Layout& sink, const ResolvedMapping& mapping, const std::vector<bool>& planned_sinks, std::uint32_t replica_seed);
    [[nodiscard]] Status run();

    std::vector<Copy> copies;
    std::vector<Fill> fills;
    std::uint64_t copied_bytes = 0, filled_bytes = 0;
    std::vector<std::uint64_t> by_source, by_sink;

private:
    // A copy that several ranks could send.
    struct Choice {
        std::size_t copy;
        std::uint64_t bytes;
        const SourceGroup* group;
    };

    [[nodiscard]] std::size_t count_copies() const;
    [[nodiscard]] Status plan_shard(std::uint32_t sink_shard);
    [[nodiscard]] Status plan_fill(std::uint32_t sink_shard, const MappedPart& part, const Box& region);
    [[nodiscard]] Status plan_copies(std::uint32_t sink_shard, const MappedPart& part, const Box& region);
    // Proves that the copies from `first` on are `region` exactly.
    [[nodiscard]] Status prove(std::size_t first, const Box& region, std::uint32_t sink_shard);
    void close_segment(std::uint32_t sink_rank);
    void choose_replicas();

    const Layout& source_;
    const Layout& sink_;
    const ResolvedMapping& mapping_;
    SinkShards planned_;
    SourceIndex index_;
    ReplicaBalancer balancer_;
    std::uint64_t pair_budget_;
    std::vector<Choice> choices_;
    // The segment: the copies and fills of one sink rank for one tensor, at the end of the lists.
    std::size_t segment_copies_ = 0, segment_fills_ = 0;
    std::vector<const SourceGroup*> segment_groups_;
};

}  // namespace wsync
