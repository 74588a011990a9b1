#include "model/disjoint.hpp"
#include "model/records.hpp"

#include "result_matchers.hpp"

#include <algorithm>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <set>

namespace wsync {
namespace {

Dims random_shape(std::size_t max_rank, std::uint64_t max_extent) {
    const auto rank = *rc::gen::inRange<std::size_t>(0, max_rank + 1);
    Dims shape(rank, 0);
    for (std::size_t d = 0; d < rank; ++d) shape[d] = *rc::gen::inRange<std::uint64_t>(0, max_extent + 1);
    return shape;
}

Manifest random_manifest() {
    std::vector<TensorSpec> tensors;
    const auto count = *rc::gen::inRange(0, 12);
    for (int i = 0; i < count; ++i) {
        const auto dtype = static_cast<DType>(*rc::gen::inRange(0, kDTypeCount));
        Dims shape = random_shape(4, 6);
        if (bits_of(dtype) < 8) {
            if (shape.empty()) shape = Dims{8};
            shape[shape.size() - 1] *= 8;
        }
        tensors.push_back({"tensor." + std::to_string(i) + *rc::gen::element<std::string>("", ".weight", ".\u00e9\u6f22"), dtype, shape});
    }
    return Manifest::make(std::move(tensors)).value();
}

// Cuts each tensor by a random tree of straight cuts and deals the pieces out; some pieces get a replica.
Layout random_layout(const Manifest& manifest) {
    const auto ranks = *rc::gen::inRange<std::uint32_t>(1, 6);
    std::vector<Shard> shards;
    for (std::uint32_t t = 0; t < manifest.size(); ++t) {
        const Dims& shape = manifest[t].shape;
        std::vector<Box> boxes = {Box::whole(shape)};
        const auto cuts = shape.empty() ? 0 : *rc::gen::inRange(0, 4);
        for (int c = 0; c < cuts; ++c) {
            const auto i = *rc::gen::inRange<std::size_t>(0, boxes.size());
            const auto d = *rc::gen::inRange<std::size_t>(0, shape.size());
            Box first = boxes[i], second = boxes[i];
            first.size[d] = *rc::gen::inRange<std::uint64_t>(0, first.size[d] + 1);
            second.offset[d] += first.size[d];
            second.size[d] -= first.size[d];
            if (!cut_on_bytes(first, shape, manifest[t].dtype) || !cut_on_bytes(second, shape, manifest[t].dtype)) continue;
            boxes[i] = first;
            boxes.push_back(second);
        }
        for (const Box& box : boxes) {
            const auto rank = *rc::gen::inRange<std::uint32_t>(0, ranks);
            shards.push_back({rank, t, box});
            if (ranks > 1 && *rc::gen::arbitrary<bool>()) shards.push_back({(rank + 1) % ranks, t, box});
        }
    }
    return Layout::make(manifest, ranks, shards, Coverage::full).value();
}

RC_GTEST_PROP(Records, ManifestRoundTrip, ()) {
    const auto manifest = random_manifest();
    const auto bytes = encode(manifest);
    const auto back = decode_manifest(bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(*back == manifest);
    RC_ASSERT(back->digest() == manifest.digest());
    RC_ASSERT(digest_of(bytes) == manifest.digest());
}

RC_GTEST_PROP(Records, LayoutAndPlacementRoundTrip, ()) {
    const auto layout = random_layout(random_manifest());
    const auto bytes = encode(layout);
    const auto back = decode_layout(bytes);
    RC_ASSERT(back.has_value());
    RC_ASSERT(back->shards() == layout.shards());
    RC_ASSERT(back->digest() == layout.digest());
    RC_ASSERT(digest_of(bytes) == layout.digest());
    RC_ASSERT(encode(*back) == bytes);
    for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) {
        const auto placement = pack(layout, rank, std::uint64_t{1} << *rc::gen::inRange(0, 13)).value();
        RC_ASSERT(check(layout, rank, placement).has_value());
        RC_ASSERT(decode_placement(encode(placement)).value() == placement);
    }
}

RC_GTEST_PROP(Records, DamagedLayoutsAreErrorsOrOtherLayouts, ()) {
    const auto layout = random_layout(random_manifest());
    auto bytes = encode(layout);
    const auto length = *rc::gen::inRange<std::size_t>(0, bytes.size());
    const auto cut = decode_layout(std::span(bytes).first(length));
    RC_ASSERT(!cut.has_value());
    RC_ASSERT(cut.error().code == Code::corrupt);
    const auto at = *rc::gen::inRange<std::size_t>(0, bytes.size());
    bytes[at] ^= static_cast<std::byte>(*rc::gen::inRange(1, 256));
    const auto changed = decode_layout(bytes);
    if (changed.has_value()) {
        // A flip in a name, say, makes another valid layout, which its digest tells. A raised minor alone (of the layout
        // record, or of the manifest record in it) is read as today's.
        const bool minor = at == 6 || at == 7 || at == 18 || at == 19;
        RC_ASSERT((changed->digest() == layout.digest()) == minor);
        RC_ASSERT(minor || encode(*changed) == bytes);
    } else {
        RC_ASSERT(changed.error().code == Code::corrupt || changed.error().code == Code::unsupported);
    }
}

RC_GTEST_PROP(Layout, ProofAgreesWithCounting, ()) {
    // Random boxes of a small tensor: the proof must say what counting every element says.
    const auto rank = *rc::gen::inRange<std::size_t>(1, 4);
    const Dims shape(rank, 5);
    const auto count = *rc::gen::inRange<std::size_t>(0, 6);
    std::vector<Box> boxes;
    for (std::size_t i = 0; i < count; ++i) {
        Box box = Box::whole(shape);
        for (std::size_t d = 0; d < rank; ++d) {
            box.offset[d] = *rc::gen::inRange<std::uint64_t>(0, 5);
            box.size[d] = *rc::gen::inRange<std::uint64_t>(1, 6 - box.offset[d]);
        }
        boxes.push_back(box);
    }
    bool overlap = false;
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = 0; j < i; ++j) overlap = overlap || intersect(boxes[i], boxes[j]).has_value();
    }
    std::vector<const Box*> pointers;
    for (const Box& box : boxes) pointers.push_back(&box);
    std::uint64_t budget = 1'000'000;
    const auto proof = prove_disjoint(pointers, budget);
    RC_ASSERT(!proof.given_up);
    RC_ASSERT(proof.overlap.has_value() == overlap);
    std::vector<Shard> shards;
    for (const Box& box : boxes) shards.push_back({0, 0, box});
    const auto manifest = Manifest::make({{"w", DType::u8, shape}}).value();
    RC_ASSERT(Layout::make(manifest, 1, shards, Coverage::partial).has_value() == !overlap);
    std::uint64_t held = 0;
    for (const Box& box : boxes) held += box.elements();
    RC_ASSERT(Layout::make(manifest, 1, shards, Coverage::full).has_value() == (!overlap && held == manifest.parameters()));
}

}  // namespace
}  // namespace wsync
