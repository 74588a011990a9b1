#include "plan/segments.hpp"
#include "property/plan/element_bits.hpp"
#include "property/plan/random_layouts.hpp"
#include "result_matchers.hpp"
#include "unit/verify/host_region.hpp"
#include "verify/at_rest.hpp"
#include "verify/block_digests.hpp"
#include "verify/blocks.hpp"
#include "verify/version_digest.hpp"

#include <algorithm>
#include <cstring>
#include <rapidcheck/gtest.h>

namespace wsync {
namespace {

using testing::ElementBits;
using testing::host_region;
using testing::pattern;
using testing::pick;
using testing::random_manifest;
using testing::random_sink;
using testing::random_source;

// Blocks follow each other in the box's packed bytes, are what BlockCut says, and are not too large.
RC_GTEST_PROP(blocks_property, tile_the_box_exactly, ()) {
    const auto rank = pick<std::size_t>(0, 5);
    const DType dtype = testing::random_dtype();
    Box box{Dims(rank, 0), Dims(rank, 0)};
    std::uint64_t elements = 1;
    for (std::size_t d = 0; d < rank; ++d) {
        box.offset[d] = pick<std::uint64_t>(0, 1000);
        const std::uint64_t most = std::max<std::uint64_t>(1, std::min<std::uint64_t>(*rc::gen::element<std::uint64_t>(3, 300, 40'000, 4'000'000), 20'000'000 / elements));
        box.size[d] = pick<std::uint64_t>(1, most + 1);
        elements *= box.size[d];
    }
    if (elements * bits_of(dtype) % 8 != 0) {
        if (rank == 0) RC_DISCARD("a scalar of less than a byte");
        box.size[pick<std::size_t>(0, rank)] *= 4;
    }
    const BlockCut cut(box, dtype);
    std::uint64_t at = 0, number = 0;
    for_each_block(box, dtype, [&](const Box& block) {
        RC_ASSERT(!block.empty());
        RC_ASSERT(box.contains(block));
        RC_ASSERT(cut.block(number) == block);
        RC_ASSERT(cut.offset(number) == at);
        RC_ASSERT(cut.bytes(number) == block.bytes(dtype));
        RC_ASSERT(block.elements() * bits_of(dtype) % 8 == 0u);
        // Rows of odd elements whose whole-byte group is too large are the one exception.
        if (bits_of(dtype) % 8 == 0) RC_ASSERT(block.bytes(dtype) <= kBlockBytes);
        // Contiguous: as the box packs it, a block is one flat row, at the next offset.
        std::vector<Rows> rows;
        append_rows(rows, dtype, box, block, block, block);
        RC_ASSERT(rows.size() == 1u);
        RC_ASSERT(rows[0].rows == 1u);
        RC_ASSERT(rows[0].source_offset == at);
        at += block.bytes(dtype);
        ++number;
    });
    RC_ASSERT(at == box.bytes(dtype));
    RC_ASSERT(number == count_blocks(box, dtype));
    // Few: full blocks but for the last of each outer index; where one block would do, there is one.
    if (box.bytes(dtype) <= kBlockBytes) RC_ASSERT(number == 1u);
}

std::vector<ElementBits> random_tensors(const Manifest& manifest) {
    std::vector<ElementBits> tensors;
    const auto seed = pick<std::uint64_t>(1, 1'000'000);
    for (const TensorSpec& tensor : manifest.tensors()) {
        ElementBits& bits = tensors.emplace_back(tensor.elements(), bits_of(tensor.dtype));
        bits.bytes = pattern(bits.bytes.size(), seed + tensors.size());
    }
    return tensors;
}

struct Slab {
    Placement placement;
    std::vector<Region> regions;
};

Slab packed_slab(const Layout& layout, std::uint32_t rank, const std::vector<ElementBits>& tensors) {
    Slab slab;
    slab.placement = pack(layout, rank, std::uint64_t{1} << pick(0, 8)).value();
    std::vector<std::byte> bytes(slab.placement.region_bytes[0]);
    const auto shards = layout.shards_of(rank);
    for (std::size_t i = 0; i < shards.size(); ++i) {
        const TensorSpec& tensor = layout.manifest()[shards[i].tensor];
        const auto shard = testing::packed(tensors[shards[i].tensor], tensor.shape, shards[i].box, tensor.dtype);
        std::memcpy(bytes.data() + slab.placement.places[i].offset, shard.data(), shard.size());
    }
    slab.regions.push_back(host_region(std::move(bytes)));
    return slab;
}

RC_GTEST_PROP(digest_shards_property, same_for_any_threads_and_equal_to_the_packed_blocks, ()) {
    const Manifest manifest = random_manifest();
    const Layout layout = random_sink(manifest);
    const auto tensors = random_tensors(manifest);
    const auto rank = pick<std::uint32_t>(0, layout.ranks());
    const Slab slab = packed_slab(layout, rank, tensors);
    const auto digests = digest_shards(layout, rank, slab.placement, slab.regions, default_kernels(), 1).value();
    RC_ASSERT(digest_shards(layout, rank, slab.placement, slab.regions, available_kernels().front(), pick<unsigned>(2, 5)).value() == digests);
    std::size_t number = 0;
    for (const Shard& shard : layout.shards_of(rank)) {
        const TensorSpec& tensor = manifest[shard.tensor];
        for_each_block(shard.box, tensor.dtype, [&](const Box& block) {
            RC_ASSERT(digests.digests[number++] == digest_of(testing::packed(tensors[shard.tensor], tensor.shape, block, tensor.dtype)));
        });
    }
    RC_ASSERT(number == digests.digests.size());
    RC_ASSERT(decode_block_digests(encode(digests)).value() == digests);
}

RC_GTEST_PROP(at_rest_property, equals_the_digest_of_the_packed_box, ()) {
    const Manifest manifest = random_manifest();
    const Layout layout = random_sink(manifest);
    const auto tensors = random_tensors(manifest);
    const auto rank = pick<std::uint32_t>(0, layout.ranks());
    const Slab slab = packed_slab(layout, rank, tensors);
    for (std::size_t s = layout.first_shard_of(rank); s < layout.first_shard_of(rank) + layout.shards_of(rank).size(); ++s) {
        const Shard& shard = layout.shards()[s];
        const TensorSpec& tensor = manifest[shard.tensor];
        for (int i = 0; i < 4; ++i) {
            Box box = shard.box;
            for (std::size_t d = 0; d < box.size.size(); ++d) {
                if (pick(0, 2) == 0) continue;
                const auto begin = pick<std::uint64_t>(0, box.size[d]);
                box.offset[d] += begin;
                box.size[d] = pick<std::uint64_t>(1, box.size[d] - begin + 1);
            }
            const auto digest = digest_box_at_rest(layout, s, box, slab.placement, slab.regions, default_kernels());
            if (!digest) {
                RC_ASSERT(bits_of(tensor.dtype) % 8 != 0u);
                RC_ASSERT(digest.error().code == Code::invalid_argument);
                continue;
            }
            RC_ASSERT(*digest == digest_of(testing::packed(tensors[shard.tensor], tensor.shape, box, tensor.dtype)));
        }
    }
}

// What a plan copies is proved at rest by the digests of the source's blocks.
RC_GTEST_PROP(at_rest_property, a_copied_block_has_the_digest_of_its_source, ()) {
    const Manifest manifest = random_manifest();
    const Layout source = random_source(manifest), sink = random_sink(manifest);
    const auto plan = make_plan(source, sink);
    if (!plan) RC_DISCARD("the cuts meet inside a byte");
    const auto tensors = random_tensors(manifest);
    std::vector<Slab> from, to;
    for (std::uint32_t rank = 0; rank < source.ranks(); ++rank) from.push_back(packed_slab(source, rank, tensors));
    for (std::uint32_t rank = 0; rank < sink.ranks(); ++rank) {
        to.push_back(packed_slab(sink, rank, tensors));
        if (const auto bytes = to.back().regions[0].host_bytes()) std::fill(bytes->begin(), bytes->end(), std::byte{0xA5});
    }
    std::vector<Rows> rows;
    for (const Copy& copy : plan->copies()) {
        const Shard &a = source.shards()[copy.source_shard], &b = sink.shards()[copy.sink_shard];
        const std::byte* read = from[a.rank].regions[0].address + from[a.rank].placement.places[copy.source_shard - source.first_shard_of(a.rank)].offset;
        std::byte* write = to[b.rank].regions[0].address + to[b.rank].placement.places[copy.sink_shard - sink.first_shard_of(b.rank)].offset;
        rows.clear();
        append_rows(rows, manifest[b.tensor].dtype, a.box, copy.source_box, b.box, copy.sink_box);
        for (const Rows& r : rows) {
            for (std::uint64_t i = 0; i < r.rows; ++i) std::memcpy(write + r.sink_offset + i * r.sink_stride, read + r.source_offset + i * r.source_stride, r.row_bytes);
        }
        for_each_block(copy.source_box, manifest[a.tensor].dtype, [&](const Box& block) {
            // By name both boxes have the same coordinates.
            const auto theirs = digest_box_at_rest(source, copy.source_shard, block, from[a.rank].placement, from[a.rank].regions, default_kernels());
            const auto ours = digest_box_at_rest(sink, copy.sink_shard, block, to[b.rank].placement, to[b.rank].regions, default_kernels());
            RC_ASSERT(theirs.value() == ours.value());
        });
    }
}

RC_GTEST_PROP(version_digest_property, replicas_do_not_count_and_bytes_do, ()) {
    const Manifest manifest = random_manifest();
    const Layout layout = random_source(manifest);
    const auto tensors = random_tensors(manifest);
    const auto all_of = [&](const Layout& l, const std::vector<ElementBits>& t) {
        std::vector<BlockDigests> all;
        for (std::uint32_t rank = 0; rank < l.ranks(); ++rank) {
            const Slab slab = packed_slab(l, rank, t);
            all.push_back(digest_shards(l, rank, slab.placement, slab.regions, default_kernels(), 1).value());
        }
        return all;
    };
    const Digest digest = version_digest(layout, all_of(layout, tensors)).value();
    // Each distinct box once, on a rank of its own.
    std::vector<Shard> once;
    for (const Shard& shard : layout.shards()) {
        const bool known = std::any_of(once.begin(), once.end(), [&](const Shard& s) { return s.tensor == shard.tensor && s.box == shard.box; });
        if (!known) once.push_back({static_cast<std::uint32_t>(once.size()), shard.tensor, shard.box});
    }
    const auto ranks = static_cast<std::uint32_t>(std::max<std::size_t>(once.size(), 1));
    const Layout spread = Layout::make(manifest, ranks, once, Coverage::full).value();
    RC_ASSERT(version_digest(spread, all_of(spread, tensors)).value() == digest);
    if (once.empty()) return;
    auto other = tensors;
    auto& bytes = other[once[pick<std::size_t>(0, once.size())].tensor].bytes;
    bytes[pick<std::size_t>(0, bytes.size())] ^= static_cast<std::byte>(1 << pick(0, 8));
    RC_ASSERT(version_digest(layout, all_of(layout, other)).value() != digest);
}

}  // namespace
}  // namespace wsync
