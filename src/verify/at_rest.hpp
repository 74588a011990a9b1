// The proof of placement: a box read back from where it lies, whoever put it there and however.
#pragma once

#include "kernels/kernel_set.hpp"
#include "memory/region.hpp"
#include "wsync/model/placement.hpp"

#include <span>

namespace wsync {

// XXH3-128 of `box` (in the tensor's coordinates) packed row-major, read from the packed shard `sink_shard` (its number
// in sink.shards()) at its place. The addresses are computed here from shape and offset alone, not by the rows that a
// copy used, so that a wrong row shows. Safe for boxes from a peer: Error{invalid_argument} for one that is not inside
// the shard, cuts a byte, or whose place is not inside the regions; Error{unsupported} for memory that a processor
// can't read. Allocation-free for boxes that are flat or rows in the shard.
[[nodiscard]] Result<Digest> digest_box_at_rest(const Layout& sink, std::size_t sink_shard, const Box& box, const Placement& placement,
                                                std::span<const Region> regions, const KernelSet& kernels);
// The same from the packed bytes of a shard's box. Precondition: `box` is inside it and cuts no byte.
[[nodiscard]] Digest digest_packed_box(const Box& shard, std::span<const std::byte> bytes, DType dtype, const Box& box, const KernelSet& kernels);

}  // namespace wsync
