// Who holds what: the source's shards by tensor, equal boxes (replicas) grouped, ready to be asked which of them a box meets.
//
// Built once per plan in two sequential passes over the shards and a sort per tensor; asking costs a binary search and
// the candidates. Boxes are copied into a compact pool, since thousands of ranks times hundreds of tensors make the
// shards themselves larger than a cache. Holds no reference to the layout. Immutable after make.
#pragma once

#include "wsync/model/layout.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace wsync {

// One distinct box of a tensor and the ranks that hold it.
struct SourceGroup {
    std::uint64_t low = 0, high = 0;  // its interval in the dimension that the tensor is sorted by
    std::uint64_t reach = 0;          // the largest `high` up to here
    std::uint32_t first = 0;          // its holders are the `count` members from here, by rank
    std::uint32_t count = 0;
    std::uint64_t extents = 0;        // where its offset and size begin in the pool
};

class SourceIndex {
public:
    // `wanted[t]`: whether tensor t will be asked for.
    SourceIndex(const Layout& source, const std::vector<bool>& wanted);

    // The shard numbers (in source.shards()) of a group, and their ranks, ascending.
    [[nodiscard]] std::span<const std::uint32_t> holders(const SourceGroup& group) const noexcept {
        return std::span(members_).subspan(group.first, group.count);
    }
    [[nodiscard]] std::span<const std::uint32_t> ranks(const SourceGroup& group) const noexcept {
        return std::span(ranks_).subspan(group.first, group.count);
    }

    // Calls visit(group, common) with every group of the tensor that meets the box (not empty, same rank), in the order
    // of the sort dimension, then by offset.
    template <class Visit>
    void for_each_overlap(std::uint32_t tensor, const Box& box, Visit&& visit) const {
        const auto groups = std::span(groups_).subspan(first_group_[tensor], first_group_[tensor + 1] - first_group_[tensor]);
        const std::size_t dims = box.size.size();
        const std::size_t dim = sort_dimension_[tensor];
        const std::uint64_t low = dims == 0 ? 0 : box.offset[dim], high = dims == 0 ? 1 : low + box.size[dim];
        auto group = std::partition_point(groups.begin(), groups.end(), [low](const SourceGroup& g) { return g.reach <= low; });
        Box common{box.offset, box.size};
        for (; group != groups.end() && group->low < high; ++group) {
            const std::uint64_t* offset = pool_.data() + group->extents;
            const std::uint64_t* size = offset + dims;
            bool meets = true;
            for (std::size_t d = 0; d < dims && meets; ++d) {
                const std::uint64_t begin = std::max(box.offset[d], offset[d]);
                const std::uint64_t end = std::min(box.offset[d] + box.size[d], offset[d] + size[d]);
                meets = begin < end;
                common.offset[d] = begin;
                common.size[d] = end - begin;
            }
            if (meets) visit(*group, std::as_const(common));
        }
    }

private:
    struct Entry;
    void group_tensor(std::span<Entry> entries, std::size_t dims);

    std::vector<std::size_t> first_group_;       // tensors + 1
    std::vector<std::uint8_t> sort_dimension_;
    std::vector<SourceGroup> groups_;
    std::vector<std::uint32_t> members_, ranks_;
    std::vector<std::uint64_t> pool_;            // offset and size of each wanted shard
};

}  // namespace wsync
