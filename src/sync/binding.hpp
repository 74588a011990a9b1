// A plan tied to offsets: the blocks that one receiver moves, each with its rows and the digest it must have.
//
// Computed once for a plan and two placements, kept over every step.
#pragma once

#include "plan/segments.hpp"
#include "sync/link.hpp"
#include "wsync/model/placement.hpp"
#include "wsync/plan/plan.hpp"

namespace wsync {

struct BoundBlock {
    std::uint32_t source_rank = 0, source_region = 0;
    std::uint32_t source_shard = 0;              // index within the rank
    std::uint32_t sink_shard = 0;                // index in sink.shards()
    Box source_box, sink_box;
    std::uint64_t source_base = 0, sink_base = 0;  // of the two shards, in their regions
    std::uint32_t sink_region = 0;
    std::uint32_t first_rows = 0, rows = 0;      // in Binding::rows
    std::uint64_t bytes = 0;
    std::uint32_t default_digest = kCustom;      // index in the source rank's own block digests
    static constexpr std::uint32_t kCustom = 0xffffffff;
    bool part = false;                           // only a part of the source's block default_digest
};

// How a source's shards lie at their places.
enum class ShardForm : std::uint8_t {
    packed,     // each by itself, row-major: a slab
    in_tensor,  // inside its whole tensor, whose beginning the place is: a checkpoint's files
};

struct BoundFill {
    std::uint32_t sink_region = 0;
    std::uint64_t sink_base = 0;
    Rows rows;
    std::byte value{};
};

struct Binding {
    std::vector<BoundBlock> blocks;              // in the plan's order: layer by layer
    std::vector<Rows> rows;
    std::vector<BoundFill> fills;
    std::vector<std::uint32_t> source_ranks;     // those that send something, ascending
    std::uint64_t bytes = 0;                     // of all blocks
};

// `source_places` has an entry for each source rank. Blocks of a copy that is a whole source shard are the publisher's
// own blocks; of a finer cut they are cut anew, and their digests must be asked for. In a source that is in_tensor, where
// nobody can be asked, a finer cut follows the source's blocks, so that as many of them as can be are whole.
[[nodiscard]] Result<Binding> bind_plan(const Plan& plan, const Layout& source, std::span<const Placement> source_places, const Layout& sink,
                                   std::uint32_t sink_rank, const Placement& sink_place, ShardForm form = ShardForm::packed);

}  // namespace wsync
