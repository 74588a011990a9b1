// One digest for a whole version, however many ranks hold replicas of it.
#pragma once

#include "verify/block_digests.hpp"

namespace wsync {

// Shard numbers by (tensor, box offset, box size, rank): the replicas of a box stand together.
[[nodiscard]] std::vector<std::uint32_t> shards_by_box(const Layout& layout);

// `by_rank[r]` are the digests of rank r's shards. Of: the manifest's digest, how the distinct shards are cut, and the
// digests of their blocks by (tensor, box offset), each replica once. So it is the same for one group and for several
// that replicate it, and another for another cut. Error{corrupt} when digests don't fit the layout or replicas disagree.
[[nodiscard]] Result<Digest> version_digest(const Layout& layout, std::span<const BlockDigests> by_rank);

// Error{corrupt} names the tensor, the box of the block and the ranks whose replicas differ.
[[nodiscard]] Status check_replicas(const Layout& layout, std::span<const BlockDigests> by_rank);

}  // namespace wsync
