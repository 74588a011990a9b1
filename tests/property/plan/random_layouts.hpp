// Random manifests and layouts for property tests: kd-tree cuts, uneven, empty and replicated shards, sub-byte types.
#pragma once

#include "wsync/model/layout.hpp"

#include <rapidcheck.h>
#include <string>
#include <vector>

namespace wsync::testing {

// One of [low, high), all equally likely: inRange alone prefers small ones in the first of the 100 cases.
template <class T = int>
T pick(T low, T high) {
    return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<T>(low, high));
}

inline Dims random_shape(DType dtype, std::size_t max_rank = 4, std::uint64_t max_extent = 7) {
    const auto rank = pick<std::size_t>(0, max_rank + 1);
    Dims shape(rank, 0);
    for (std::size_t d = 0; d < rank; ++d) shape[d] = pick<std::uint64_t>(pick(0, 10) == 0 ? 0 : 1, max_extent + 1);
    if (bits_of(dtype) % 8 != 0) {
        if (shape.empty()) shape = Dims{4};
        shape[pick<std::size_t>(0, shape.size())] *= 4;  // whole bytes in all, not always in each row
    }
    return shape;
}

inline DType random_dtype() {
    // Sub-byte types more often than their number says: their cuts are what goes wrong.
    if (pick(0, 3) == 0) return *rc::gen::element(DType::f4, DType::f6_e2m3, DType::f6_e3m2);
    return static_cast<DType>(pick(0, kDTypeCount));
}

inline Manifest random_manifest(std::size_t max_tensors = 6) {
    std::vector<TensorSpec> tensors;
    const auto count = pick<std::size_t>(0, max_tensors + 1);
    for (std::size_t i = 0; i < count; ++i) {
        const DType dtype = random_dtype();
        tensors.push_back({"layers." + std::to_string(i) + ".weight", dtype, random_shape(dtype)});
    }
    return Manifest::make(std::move(tensors)).value();
}

// Cuts the tensor by a random tree of straight cuts, on whole bytes.
inline std::vector<Box> random_cut(const TensorSpec& tensor, int max_cuts = 5) {
    std::vector<Box> boxes{Box::whole(tensor.shape)};
    if (tensor.shape.empty()) return boxes;
    const int cuts = pick(0, max_cuts + 1);
    for (int i = 0; i < cuts; ++i) {
        const auto which = pick<std::size_t>(0, boxes.size());
        const auto d = pick<std::size_t>(0, tensor.shape.size());
        Box low = boxes[which], high = low;
        const auto at = pick<std::uint64_t>(0, low.size[d] + 1);
        low.size[d] = at;
        high.offset[d] += at;
        high.size[d] -= at;
        if (!cut_on_bytes(low, tensor.shape, tensor.dtype) || !cut_on_bytes(high, tensor.shape, tensor.dtype)) continue;
        boxes[which] = low;
        boxes.push_back(high);
    }
    return boxes;
}

// Every element held; some boxes by several ranks.
inline Layout random_source(const Manifest& manifest, std::uint32_t max_ranks = 5) {
    const auto ranks = pick<std::uint32_t>(1, max_ranks + 1);
    std::vector<Shard> shards;
    for (std::uint32_t t = 0; t < manifest.size(); ++t) {
        for (const Box& box : random_cut(manifest[t])) {
            const auto first = pick<std::uint32_t>(0, ranks);
            const auto copies = pick<std::uint32_t>(1, ranks + 1);
            for (std::uint32_t i = 0; i < copies; ++i) shards.push_back({(first + i) % ranks, t, box});
        }
    }
    return Layout::make(manifest, ranks, std::move(shards), Coverage::full).value();
}

// Each rank has a cut of its own and keeps a part of it, or all.
inline Layout random_sink(const Manifest& manifest, std::uint32_t max_ranks = 4) {
    const auto ranks = pick<std::uint32_t>(1, max_ranks + 1);
    std::vector<Shard> shards;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
        const bool whole = pick(0, 3) == 0;
        for (std::uint32_t t = 0; t < manifest.size(); ++t) {
            for (const Box& box : random_cut(manifest[t])) {
                if (whole || pick(0, 3) != 0) shards.push_back({rank, t, box});
            }
        }
    }
    return Layout::make(manifest, ranks, std::move(shards), Coverage::partial).value();
}

}  // namespace wsync::testing
