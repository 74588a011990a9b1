#include "verify/blocks.hpp"

#include <numeric>

namespace wsync {
namespace {

// Whole bytes of so many elements; the product of elements and bits may not fit where the bytes do.
std::uint64_t bytes_of(std::uint64_t elements, unsigned bits) { return elements / 8 * bits + elements % 8 * bits / 8; }

}  // namespace

BlockCut::BlockCut(const Box& box, DType dtype) noexcept : box_(box), bits_(bits_of(dtype)) {
    if (box.empty()) return;
    count_ = 1;
    const std::size_t rank = box.size.size();
    if (rank == 0) return;
    const std::uint64_t limit = kBlockBytes * 8 / bits_;  // elements
    std::uint64_t inner = box.elements(), outer = 1;
    for (std::size_t d = 0; d < rank; ++d) {
        inner /= box.size[d];
        // So many indices together are whole bytes.
        const std::uint64_t odd_bits = inner % 8 * bits_ % 8;
        const std::uint64_t unit = odd_bits == 0 ? 1 : 8 / std::gcd(odd_bits, std::uint64_t{8});
        const bool fits = inner <= limit / unit;
        // One index of this dimension too large for a block: cut inside it, if it is whole bytes.
        if (!fits && unit == 1) {
            outer *= box.size[d];
            continue;
        }
        dimension_ = d;
        inner_ = inner;
        step_ = fits ? limit / (inner * unit) * unit : unit;
        blocks_per_outer_ = (box.size[d] - 1) / step_ + 1;
        count_ = outer * blocks_per_outer_;
        return;  // reached at the innermost dimension at the latest: there inner is 1
    }
}

std::uint64_t BlockCut::first_index(std::uint64_t index) const noexcept { return index % blocks_per_outer_ * step_; }

Box BlockCut::block(std::uint64_t index) const noexcept {
    Box block = box_;
    if (box_.size.empty()) return block;
    const std::uint64_t first = first_index(index);
    block.offset[dimension_] += first;
    block.size[dimension_] = std::min(step_, box_.size[dimension_] - first);
    std::uint64_t outer = index / blocks_per_outer_;
    for (std::size_t d = dimension_; d-- > 0;) {
        block.offset[d] += outer % box_.size[d];
        block.size[d] = 1;
        outer /= box_.size[d];
    }
    return block;
}

std::uint64_t BlockCut::offset(std::uint64_t index) const noexcept {
    if (box_.size.empty()) return 0;
    return bytes_of((index / blocks_per_outer_ * box_.size[dimension_] + first_index(index)) * inner_, bits_);
}

std::uint64_t BlockCut::bytes(std::uint64_t index) const noexcept {
    if (box_.size.empty()) return bytes_of(1, bits_);
    return bytes_of(std::min(step_, box_.size[dimension_] - first_index(index)) * inner_, bits_);
}

void for_each_block(const Box& box, DType dtype, const std::function<void(const Box&)>& visit) {
    const BlockCut cut(box, dtype);
    for (std::uint64_t i = 0; i < cut.count(); ++i) visit(cut.block(i));
}

std::uint64_t count_blocks(const Box& box, DType dtype) { return BlockCut(box, dtype).count(); }

Digest digest_of_list(std::span<const Digest> digests) {
    static_assert(sizeof(Digest) == 16);
    return digest_of(std::as_bytes(digests));
}

}  // namespace wsync
