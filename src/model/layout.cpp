#include "wsync/model/layout.hpp"

#include "base/bytes.hpp"
#include "model/disjoint.hpp"
#include "model/records.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <numeric>

namespace wsync {
namespace {

// Bounds what a small record can make a reader allocate: the table of first shards has one entry a rank.
constexpr std::uint32_t kMaxRanks = 1U << 20;
constexpr std::uint64_t kMaxShards = std::numeric_limits<std::uint32_t>::max();
// What the proof that boxes are disjoint may cost: enough for any mesh, and some tenths of a second for tangles.
constexpr std::uint64_t kWorkBudget = 20'000'000;
constexpr std::uint64_t kWorkBudgetPerShard = 32;

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message), {}}; }

int compare(const Dims& a, const Dims& b) {
    for (std::size_t d = 0; d < std::min(a.size(), b.size()); ++d) {
        if (a[d] != b[d]) return a[d] < b[d] ? -1 : 1;
    }
    return 0;
}

bool in_order(const Shard& a, const Shard& b) {
    if (a.rank != b.rank) return a.rank < b.rank;
    if (a.tensor != b.tensor) return a.tensor < b.tensor;
    return compare(a.box.offset, b.box.offset) < 0;
}

Status check_shard(const Manifest& manifest, std::uint32_t ranks, const Shard& shard) {
    if (shard.rank >= ranks) return bad(fmt::format("a shard names rank {}, the layout has {}", shard.rank, ranks));
    if (shard.tensor >= manifest.size()) {
        return bad(fmt::format("a shard of rank {} names tensor {}, the manifest has {}", shard.rank, shard.tensor, manifest.size()));
    }
    const TensorSpec& tensor = manifest[shard.tensor];
    if (!shard.box.inside(tensor.shape)) {
        return bad(fmt::format("box {} of rank {} is not inside tensor {} of shape {}", shard.box.to_string(), shard.rank, in_quotes(tensor.name),
                               tensor.shape.to_string()));
    }
    if (!cut_on_bytes(shard.box, tensor.shape, tensor.dtype)) {
        return bad(fmt::format("box {} of rank {} cuts tensor {} ({} bits an element) inside a byte: cut it on whole bytes",
                               shard.box.to_string(), shard.rank, in_quotes(tensor.name), bits_of(tensor.dtype)));
    }
    return {};
}

Error overlap_error(const Manifest& manifest, const Shard& a, const Shard& b) {
    return bad(fmt::format("tensor {}: box {} of rank {} overlaps box {} of rank {}{}", in_quotes(manifest[a.tensor].name), a.box.to_string(), a.rank,
                           b.box.to_string(), b.rank, a.rank == b.rank ? "" : ": replicas must be equal boxes"));
}

Error entangled_error(const Manifest& manifest, std::uint32_t tensor) {
    return Error{Code::unsupported,
                 fmt::format("tensor {}: its boxes are too entangled to be proved disjoint: cut it along whole dimensions",
                             in_quotes(manifest[tensor].name)),
                 {}};
}

// Proves the boxes of `members` (shards of one tensor, all different boxes) disjoint.
Status check_disjoint(const Manifest& manifest, std::span<const Shard* const> members, std::uint64_t& work_budget) {
    if (members.size() < 2) return {};
    std::vector<const Box*> boxes;
    boxes.reserve(members.size());
    for (const Shard* shard : members) boxes.push_back(&shard->box);
    const DisjointProof proof = prove_disjoint(boxes, work_budget);
    if (proof.overlap) return overlap_error(manifest, *members[proof.overlap->first], *members[proof.overlap->second]);
    if (proof.given_up) return entangled_error(manifest, members[0]->tensor);
    return {};
}

// No rank holds an element twice. The shards are in order.
Status check_partial(const Manifest& manifest, std::span<const Shard> shards) {
    std::uint64_t work_budget = kWorkBudget + kWorkBudgetPerShard * shards.size();
    std::vector<const Shard*> group;
    for (std::size_t i = 0; i < shards.size();) {
        group.clear();
        std::size_t end = i;
        while (end < shards.size() && shards[end].rank == shards[i].rank && shards[end].tensor == shards[i].tensor) group.push_back(&shards[end++]);
        WSYNC_TRY_VOID(check_disjoint(manifest, group, work_budget));
        i = end;
    }
    return {};
}

// Every element is held, and what is held twice is the same box on different ranks. The shards are in order.
Status check_full(const Manifest& manifest, std::span<const Shard> shards) {
    // Dealt out by tensor (a counting sort keeps the order of ranks).
    std::vector<std::size_t> first(manifest.size() + 1, 0);
    for (const Shard& shard : shards) ++first[shard.tensor + 1];
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<const Shard*> by_tensor(shards.size());
    std::vector<std::size_t> next(first.begin(), first.end() - 1);
    for (const Shard& shard : shards) by_tensor[next[shard.tensor]++] = &shard;

    std::uint64_t work_budget = kWorkBudget + kWorkBudgetPerShard * shards.size();
    for (std::size_t t = 0; t < manifest.size(); ++t) {
        const std::span<const Shard*> group(by_tensor.data() + first[t], first[t + 1] - first[t]);
        std::stable_sort(group.begin(), group.end(), [](const Shard* a, const Shard* b) {
            const int by_offset = compare(a->box.offset, b->box.offset);
            return by_offset != 0 ? by_offset < 0 : compare(a->box.size, b->box.size) < 0;
        });
        for (std::size_t i = 1; i < group.size(); ++i) {
            const bool same_box = group[i]->box == group[i - 1]->box;
            if (same_box && group[i]->rank == group[i - 1]->rank) return overlap_error(manifest, *group[i - 1], *group[i]);
        }
        // One of each set of replicas remains.
        const auto last = std::unique(group.begin(), group.end(), [](const Shard* a, const Shard* b) { return a->box == b->box; });
        const auto distinct = static_cast<std::size_t>(last - group.begin());

        const TensorSpec& tensor = manifest[t];
        const std::uint64_t wanted = tensor.elements();
        WSYNC_TRY_VOID(check_disjoint(manifest, group.first(distinct), work_budget));
        // Disjoint boxes inside the tensor can't add up to more than it has.
        std::uint64_t held = 0;
        for (const Shard* shard : group.first(distinct)) held += shard->box.elements();
        if (held != wanted) {
            return bad(fmt::format("tensor {}: the shards hold {} of its {} elements: a source must hold every one", in_quotes(tensor.name), held, wanted));
        }
    }
    return {};
}

}  // namespace

Result<Layout> Layout::make(Manifest manifest, std::uint32_t ranks, std::vector<Shard> shards, Coverage coverage) {
    if (ranks == 0 || ranks > kMaxRanks) return bad(fmt::format("a layout has 1 to {} ranks, not {}", kMaxRanks, ranks));
    if (coverage != Coverage::full && coverage != Coverage::partial) return bad("a layout's coverage is full or partial");
    if (shards.size() > kMaxShards) return bad(fmt::format("{} shards are too many: the limit is {}", shards.size(), kMaxShards));
    for (const Shard& shard : shards) WSYNC_TRY_VOID(check_shard(manifest, ranks, shard));
    std::erase_if(shards, [](const Shard& shard) { return shard.box.empty(); });
    if (!std::is_sorted(shards.begin(), shards.end(), in_order)) {
        // Shards are large values: sort their numbers, then move each once.
        std::vector<std::uint32_t> order(shards.size());
        std::iota(order.begin(), order.end(), 0U);
        std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return in_order(shards[a], shards[b]); });
        std::vector<Shard> sorted;
        sorted.reserve(shards.size());
        for (std::uint32_t i : order) sorted.push_back(shards[i]);
        shards = std::move(sorted);
    }
    if (coverage == Coverage::full) {
        WSYNC_TRY_VOID(check_full(manifest, shards));
    } else {
        WSYNC_TRY_VOID(check_partial(manifest, shards));
    }

    Layout layout;
    layout.manifest_ = std::move(manifest);
    layout.ranks_ = ranks;
    layout.coverage_ = coverage;
    layout.shards_ = std::move(shards);
    layout.first_.assign(ranks + std::size_t{1}, 0);
    for (const Shard& shard : layout.shards_) ++layout.first_[shard.rank + 1];
    std::partial_sum(layout.first_.begin(), layout.first_.end(), layout.first_.begin());
    layout.digest_ = digest_of(encode(layout));
    return layout;
}

Result<Layout> Layout::replicated(Manifest manifest, std::uint32_t ranks) {
    if (ranks == 0 || ranks > kMaxRanks) return bad(fmt::format("a layout has 1 to {} ranks, not {}", kMaxRanks, ranks));
    std::vector<Shard> shards;
    shards.reserve(manifest.size() * ranks);
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
        for (std::uint32_t t = 0; t < manifest.size(); ++t) shards.push_back({rank, t, Box::whole(manifest[t].shape)});
    }
    return make(std::move(manifest), ranks, std::move(shards), Coverage::full);
}

std::span<const Shard> Layout::shards_of(std::uint32_t rank) const noexcept {
    if (rank >= ranks_) return {};
    return std::span(shards_).subspan(first_[rank], first_[rank + 1] - first_[rank]);
}

std::uint64_t Layout::bytes_of(std::uint32_t rank) const noexcept {
    std::uint64_t total = 0;
    for (const Shard& shard : shards_of(rank)) total += shard.box.bytes(manifest_[shard.tensor].dtype);
    return total;
}

}  // namespace wsync
