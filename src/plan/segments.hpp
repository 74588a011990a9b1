// Boxes as rows of bytes: how a box inside a packed shard becomes few strided copies.
#pragma once

#include "wsync/plan/plan.hpp"

namespace wsync {

// `rows` rows of `row_bytes`; the strides are the distances between row beginnings (row_bytes when it is one flat run).
// Offsets count from the beginning of the shard's own packed bytes. One flat range has rows == 1.
struct Rows {
    std::uint64_t source_offset = 0, source_stride = 0;
    std::uint64_t sink_offset = 0, sink_stride = 0;
    std::uint64_t row_bytes = 0, rows = 0;
    friend bool operator==(const Rows&, const Rows&) = default;
};

// Appends the copies that move `source_box` (inside `source_shard`'s box) to `sink_box` (inside `sink_shard`'s box), in
// row-major order of the box, coalesced as far as both sides allow: 1 for flat, 1 for 2-D, one for each outer index
// beyond that. All boxes of the same rank; sub-byte boxes are cut on whole bytes (Layout and make_plan prove it).
void append_rows(std::vector<Rows>& out, DType dtype, const Box& source_shard, const Box& source_box, const Box& sink_shard, const Box& sink_box);

}  // namespace wsync
