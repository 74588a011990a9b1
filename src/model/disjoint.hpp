// Do boxes of one tensor overlap? Fast for what meshes make, exact for everything.
#pragma once

#include "wsync/model/box.hpp"

#include <optional>
#include <span>
#include <utility>

namespace wsync {

// The positions (in `boxes`) of two that overlap.
using Overlap = std::pair<std::size_t, std::size_t>;

struct DisjointProof {
    std::optional<Overlap> overlap;
    bool given_up = false;  // the boxes are too entangled: the work budget is spent and nothing is proved
};

// Non-empty boxes of the same rank, in any order. `work_budget` bounds the boxes that are looked at: a few times
// their number where clean cuts separate them, up to its square where none does. It is counted down, so that one budget
// can serve many calls.
[[nodiscard]] DisjointProof prove_disjoint(std::span<const Box* const> boxes, std::uint64_t& work_budget);

}  // namespace wsync
