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

// How one box is cut: any block by its number, without making the others. A plain value.
//
// Sub-byte types are cut on whole bytes. Where inner rows are not whole bytes and a whole-byte group of them is larger
// than kBlockBytes (rows of more than a million odd elements; no model has them), that group is a block all the same.
class BlockCut {
public:
    BlockCut(const Box& box, DType dtype) noexcept;

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    // Precondition: index < count().
    [[nodiscard]] Box block(std::uint64_t index) const noexcept;
    // Where the block begins in the box's own packed bytes; blocks follow each other without gaps.
    [[nodiscard]] std::uint64_t offset(std::uint64_t index) const noexcept;
    [[nodiscard]] std::uint64_t bytes(std::uint64_t index) const noexcept;

private:
    [[nodiscard]] std::uint64_t first_index(std::uint64_t index) const noexcept;  // in the cut dimension

    Box box_;
    unsigned bits_;
    std::size_t dimension_ = 0;        // that is cut; each index of the outer ones is cut alike
    std::uint64_t step_ = 1;           // indices of it in one block
    std::uint64_t inner_ = 1;          // elements of one index
    std::uint64_t blocks_per_outer_ = 1;
    std::uint64_t count_ = 0;
};

// Calls `visit` with each block of the box, in row-major order. Together they are the box exactly; an empty box has none.
// Each block is contiguous inside the box's own packed bytes. Sub-byte types are cut on whole bytes.
void for_each_block(const Box& box, DType dtype, const std::function<void(const Box&)>& visit);
[[nodiscard]] std::uint64_t count_blocks(const Box& box, DType dtype);

// XXH3-128 of the digests one behind the other. The digest of a version (version_digest.hpp) is that of: the manifest's
// digest, the digest of how the distinct shards are cut, and the digests of all their blocks (tensor order, replicas once).
[[nodiscard]] Digest digest_of_list(std::span<const Digest> digests);

}  // namespace wsync
