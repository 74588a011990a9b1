#include "verify/version_digest.hpp"

#include "verify/blocks.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

namespace wsync {
namespace {

int compare(const Dims& a, const Dims& b) {
    for (std::size_t d = 0; d < std::min(a.size(), b.size()); ++d) {
        if (a[d] != b[d]) return a[d] < b[d] ? -1 : 1;
    }
    return 0;
}

}  // namespace

std::vector<std::uint32_t> shards_by_box(const Layout& layout) {
    std::vector<std::uint32_t> order(layout.shards().size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](std::uint32_t i, std::uint32_t j) {
        const Shard &a = layout.shards()[i], &b = layout.shards()[j];
        if (a.tensor != b.tensor) return a.tensor < b.tensor;
        if (const int c = compare(a.box.offset, b.box.offset); c != 0) return c < 0;
        if (const int c = compare(a.box.size, b.box.size); c != 0) return c < 0;
        return a.rank < b.rank;
    });
    return order;
}

namespace {

std::span<const Digest> digests_of(const Layout& layout, std::span<const BlockDigests> by_rank, std::uint32_t shard) {
    const std::uint32_t rank = layout.shards()[shard].rank;
    const std::size_t local = shard - layout.first_shard_of(rank);
    const BlockDigests& all = by_rank[rank];
    return std::span(all.digests).subspan(all.first[local], all.first[local + 1] - all.first[local]);
}

Status check_all(const Layout& layout, std::span<const BlockDigests> by_rank) {
    if (by_rank.size() != layout.ranks()) {
        return Error{Code::invalid_argument, fmt::format("digests of {} ranks were given for a layout of {}", by_rank.size(), layout.ranks()), {}};
    }
    for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) WSYNC_TRY_VOID(check(by_rank[rank], layout, rank));
    return {};
}

// Calls visit(shard, its digests) for each distinct box in order; fails where a replica's digests differ.
template <class Visit>
Status for_each_distinct(const Layout& layout, std::span<const BlockDigests> by_rank, Visit&& visit) {
    const auto order = shards_by_box(layout);
    for (std::size_t i = 0; i < order.size();) {
        const Shard& shard = layout.shards()[order[i]];
        const auto digests = digests_of(layout, by_rank, order[i]);
        visit(shard, digests);
        std::size_t next = i + 1;
        for (; next < order.size(); ++next) {
            const Shard& replica = layout.shards()[order[next]];
            if (replica.tensor != shard.tensor || replica.box != shard.box) break;
            const auto theirs = digests_of(layout, by_rank, order[next]);
            const auto differs = std::mismatch(digests.begin(), digests.end(), theirs.begin(), theirs.end()).first;
            if (differs == digests.end()) continue;
            const TensorSpec& tensor = layout.manifest()[shard.tensor];
            const Box block = BlockCut(shard.box, tensor.dtype).block(static_cast<std::uint64_t>(differs - digests.begin()));
            return Error{Code::corrupt,
                         fmt::format("tensor \"{}\", box {}: ranks {} and {} hold replicas that differ", tensor.name, block.to_string(), shard.rank,
                                     replica.rank),
                         {}};
        }
        i = next;
    }
    return {};
}

}  // namespace

Result<Digest> version_digest(const Layout& layout, std::span<const BlockDigests> by_rank) {
    WSYNC_TRY_VOID(check_all(layout, by_rank));
    std::vector<Digest> list{layout.manifest().digest(), {}};
    ByteWriter cut;
    WSYNC_TRY_VOID(for_each_distinct(layout, by_rank, [&](const Shard& shard, std::span<const Digest> digests) {
        cut.u32(shard.tensor);
        for (std::uint64_t offset : shard.box.offset) cut.u64(offset);
        for (std::uint64_t size : shard.box.size) cut.u64(size);
        list.insert(list.end(), digests.begin(), digests.end());
    }));
    list[1] = digest_of(cut.view());
    return digest_of_list(list);
}

Status check_replicas(const Layout& layout, std::span<const BlockDigests> by_rank) {
    WSYNC_TRY_VOID(check_all(layout, by_rank));
    return for_each_distinct(layout, by_rank, [](const Shard&, std::span<const Digest>) {});
}

}  // namespace wsync
