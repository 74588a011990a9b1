#include "plan/source_index.hpp"

#include <array>

namespace wsync {

struct SourceIndex::Entry {
    std::uint64_t low, high;
    std::uint64_t extents;  // in the pool
    std::uint32_t shard, rank;
};

SourceIndex::SourceIndex(const Layout& source, const std::vector<bool>& wanted) {
    const Manifest& manifest = source.manifest();
    const auto& shards = source.shards();

    // First pass: how many shards each tensor has, and in which dimension they are narrowest. The sum of the extents
    // over the tensor's own is the number of intervals that a point meets on average: the dimension with the fewest wins.
    std::vector<std::size_t> first(manifest.size() + 1, 0);
    std::vector<std::array<double, kMaxRank>> extent_sums(manifest.size());
    for (const Shard& shard : shards) {
        if (!wanted[shard.tensor]) continue;
        ++first[shard.tensor + 1];
        auto& sums = extent_sums[shard.tensor];
        for (std::size_t d = 0; d < shard.box.size.size(); ++d) sums[d] += static_cast<double>(shard.box.size[d]);
    }
    sort_dimension_.assign(manifest.size(), 0);
    std::vector<std::uint64_t> pool_first(manifest.size());
    std::uint64_t pool_size = 0;
    for (std::size_t t = 0; t < manifest.size(); ++t) {
        const Dims& shape = manifest[t].shape;
        double best = 0;
        for (std::size_t d = 0; d < shape.size(); ++d) {
            const double depth = extent_sums[t][d] / static_cast<double>(std::max<std::uint64_t>(shape[d], 1));
            if (d == 0 || depth < best) best = depth, sort_dimension_[t] = static_cast<std::uint8_t>(d);
        }
        pool_first[t] = pool_size;
        pool_size += first[t + 1] * 2 * shape.size();
        first[t + 1] += first[t];
    }

    // Second pass: deal them out by tensor; ranks stay in order.
    std::vector<Entry> entries(first.back());
    std::vector<std::size_t> next(first.begin(), first.end() - 1);
    pool_.resize(pool_size);
    for (std::uint32_t s = 0; s < shards.size(); ++s) {
        const Shard& shard = shards[s];
        if (!wanted[shard.tensor]) continue;
        const std::size_t dims = shard.box.size.size();
        const std::size_t at = next[shard.tensor]++;
        const std::uint64_t extents = pool_first[shard.tensor] + (at - first[shard.tensor]) * 2 * dims;
        std::copy(shard.box.offset.begin(), shard.box.offset.end(), pool_.begin() + static_cast<std::ptrdiff_t>(extents));
        std::copy(shard.box.size.begin(), shard.box.size.end(), pool_.begin() + static_cast<std::ptrdiff_t>(extents + dims));
        const std::uint8_t dim = sort_dimension_[shard.tensor];
        const std::uint64_t low = dims == 0 ? 0 : shard.box.offset[dim];
        entries[at] = {low, dims == 0 ? 1 : low + shard.box.size[dim], extents, s, shard.rank};
    }

    first_group_.assign(manifest.size() + 1, 0);
    groups_.reserve(entries.size());
    members_.reserve(entries.size());
    ranks_.reserve(entries.size());
    for (std::size_t t = 0; t < manifest.size(); ++t) {
        group_tensor(std::span(entries).subspan(first[t], first[t + 1] - first[t]), manifest[t].shape.size());
        first_group_[t + 1] = groups_.size();
    }
}

void SourceIndex::group_tensor(std::span<Entry> entries, std::size_t dims) {
    const auto extents_of = [&](const Entry& entry) { return std::span<const std::uint64_t>(pool_).subspan(entry.extents, 2 * dims); };
    const auto before = [&](const Entry& a, const Entry& b) {
        if (a.low != b.low) return a.low < b.low;
        const auto x = extents_of(a), y = extents_of(b);
        return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
    };
    // Stable: the holders of one box stay in the order of their ranks.
    if (!std::is_sorted(entries.begin(), entries.end(), before)) std::stable_sort(entries.begin(), entries.end(), before);
    std::uint64_t reach = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto box = extents_of(entries[i]);
        const bool replica = i > 0 && std::equal(box.begin(), box.end(), extents_of(entries[i - 1]).begin());
        if (replica) {
            ++groups_.back().count;
        } else {
            reach = std::max(reach, entries[i].high);
            groups_.push_back({entries[i].low, entries[i].high, reach, static_cast<std::uint32_t>(members_.size()), 1, entries[i].extents});
        }
        members_.push_back(entries[i].shard);
        ranks_.push_back(entries[i].rank);
    }
}

}  // namespace wsync
