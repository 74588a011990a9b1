// What is missing: the geometry behind a plan's error messages. Pure.
#pragma once

#include "wsync/model/box.hpp"

#include <optional>
#include <span>

namespace wsync {

// A box inside `whole` that none of `parts` touches; nothing when they cover it or are too many to search. Boxes of one
// rank. Exact, not fast: it serves messages, the proof itself counts elements.
[[nodiscard]] std::optional<Box> find_gap(const Box& whole, std::span<const Box> parts);

}  // namespace wsync
