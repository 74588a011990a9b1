// The unit of digests: blocks of at most 1 MiB of one box.
//
// A block is itself a box: the cut runs along one dimension, whole inner rows together, so that a block of a source box
// is also a box in the sink. Its digest is XXH3-128 of its bytes packed row-major. The cut is a pure function of box and
// type, the same on both sides.
#pragma once

#include "wsync/model/layout.hpp"

#include <functional>

namespace wsync {

inline constexpr std::uint64_t kBlockBytes = 1 << 20;

// Calls `visit` with each block of the box, in row-major order. Together they are the box exactly; an empty box has none.
// Each block is contiguous inside the box's own packed bytes. Sub-byte types are cut on whole bytes.
void for_each_block(const Box& box, DType dtype, const std::function<void(const Box&)>& visit);
[[nodiscard]] std::uint64_t count_blocks(const Box& box, DType dtype);

// The digest of a version: of the layout's digest and of the ordered list of the digests of all blocks of all distinct
// shards (tensor order, replicas once).
[[nodiscard]] Digest digest_of_list(std::span<const Digest> digests);

}  // namespace wsync
