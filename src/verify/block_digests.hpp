// The digests of what one rank holds: of every block of every shard, in the order of the layout.
#pragma once

#include "base/bytes.hpp"
#include "kernels/kernel_set.hpp"
#include "memory/region.hpp"
#include "wsync/model/placement.hpp"

#include <span>
#include <vector>

namespace wsync {

// A plain value. Shard i of the rank (i counts from the rank's own first) has the digests first[i] .. first[i + 1], in
// the order of its blocks (blocks.hpp).
struct BlockDigests {
    std::vector<std::uint64_t> first;  // shards + 1, ascending, from 0 to digests.size()
    std::vector<Digest> digests;
    friend bool operator==(const BlockDigests&, const BlockDigests&) = default;
};

// Reads the rank's shards where the placement says and digests each block. Up to `threads` threads (the caller's among
// them) share the blocks as they go. Error{invalid_argument} for a placement or regions that don't fit the layout,
// Error{unsupported} for memory that a processor can't read.
[[nodiscard]] Result<BlockDigests> digest_shards(const Layout& layout, std::uint32_t rank, const Placement& placement,
                                                 std::span<const Region> regions, const KernelSet& kernels, unsigned threads);

// Whether these are as many as the rank's shards have blocks: of digests that came from elsewhere. Error{corrupt}.
[[nodiscard]] Status check(const BlockDigests& digests, const Layout& layout, std::uint32_t rank);

// Record "WSDL" 1.0: the blocks of each shard, then the digests. Precondition: as the struct's comment says.
[[nodiscard]] Bytes encode(const BlockDigests& digests);
[[nodiscard]] Result<BlockDigests> decode_block_digests(std::span<const std::byte> bytes);

}  // namespace wsync
