#include "store/write_plan.hpp"

#include "plan/replicas.hpp"
#include "store/tensor_ranges.hpp"
#include "store/version_manifest.hpp"
#include "verify/blocks.hpp"
#include "verify/version_digest.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

// Calls visit(first, last) with each run of `order` that is one box and its replicas.
template <class Visit>
void for_each_box(const Layout& layout, std::span<const std::uint32_t> order, Visit&& visit) {
    for (std::size_t i = 0; i < order.size();) {
        const Shard& shard = layout.shards()[order[i]];
        std::size_t next = i + 1;
        while (next < order.size() && layout.shards()[order[next]].tensor == shard.tensor && layout.shards()[order[next]].box == shard.box) ++next;
        visit(i, next);
        i = next;
    }
}

std::uint64_t bytes_of(const Layout& layout, const Shard& shard) { return shard.box.bytes(layout.manifest()[shard.tensor].dtype); }

// By shard of the layout: whether its own rank writes it.
std::vector<char> choose_writers(const Layout& layout, std::span<const std::uint32_t> order) {
    std::vector<char> writes(layout.shards().size(), 0);
    ReplicaBalancer balancer(layout.ranks(), 0);
    for_each_box(layout, order, [&](std::size_t first, std::size_t last) {
        if (last - first > 1) return;
        const Shard& shard = layout.shards()[order[first]];
        writes[order[first]] = 1;
        balancer.add(shard.rank, bytes_of(layout, shard));
    });
    std::vector<std::uint32_t> ranks;
    for_each_box(layout, order, [&](std::size_t first, std::size_t last) {
        if (last - first == 1) return;
        ranks.clear();
        for (std::size_t i = first; i < last; ++i) ranks.push_back(layout.shards()[order[i]].rank);
        writes[order[first + balancer.assign(ranks, bytes_of(layout, layout.shards()[order[first]]))]] = 1;
    });
    return writes;
}

Status find_boxes(const Layout& layout, std::span<const std::uint32_t> order, WritePlan& plan) {
    std::vector<Shard> boxes;
    for_each_box(layout, order, [&](std::size_t first, std::size_t) {
        const Shard& shard = layout.shards()[order[first]];
        boxes.push_back({0, shard.tensor, shard.box});
        plan.first_holder.push_back(order[first]);
    });
    if (layout.ranks() == 1) {
        plan.boxes = layout;
        return {};
    }
    WSYNC_TRY(plan.boxes, Layout::make(layout.manifest(), 1, boxes, Coverage::full));
    if (plan.boxes.shards() != boxes) return Error{Code::internal, "the boxes of a layout came back in another order"};
    return {};
}

void add_blocks(const Layout& layout, std::size_t shard, WritePlan& plan) {
    const Shard& held = layout.shards_of(plan.rank)[shard];
    const TensorSpec& tensor = layout.manifest()[held.tensor];
    const ShardPlace& place = plan.placement.places[shard];
    const auto& in_file = plan.files.places[held.tensor];
    auto& blocks = plan.blocks[in_file.file];
    const BlockCut cut(held.box, tensor.dtype);
    std::vector<FileRange> ranges;
    for (std::uint64_t b = 0; b < cut.count(); ++b) {
        ranges.clear();
        append_ranges(ranges, tensor, in_file.offset, cut.block(b), nullptr, place.offset + cut.offset(b));
        for (const FileRange& range : ranges) {
            blocks.push_back({range, place.region, static_cast<std::uint32_t>(shard), plan.first_digest[shard] + b, ranges.size() == 1});
        }
    }
}

}  // namespace

Result<std::shared_ptr<const WritePlan>> make_write_plan(const Layout& layout, std::uint32_t rank, const Placement& placement,
                                                         const SafetensorsMetadata& metadata, std::uint64_t shard_bytes) {
    if (layout.coverage() != Coverage::full) return Error{Code::invalid_argument, "a version on disk is written from a layout that holds every tensor whole"};
    WSYNC_TRY_VOID(check(layout, rank, placement));
    auto plan = std::make_shared<WritePlan>();
    plan->layout_digest = layout.digest();
    plan->rank = rank;
    plan->ranks = layout.ranks();
    plan->placement = placement;
    plan->metadata = metadata;
    plan->shard_bytes = shard_bytes;
    WSYNC_TRY(plan->files, plan_checkpoint_files(layout.manifest(), metadata, shard_bytes));
    ByteWriter files;
    for (std::size_t f = 0; f < plan->files.files.size(); ++f) {
        const CheckpointFile& file = plan->files.files[f];
        files.text(file.name).u64(file.bytes).digest(digest_of(file.header));
        plan->headers.push_back(f % layout.ranks() == rank ? 1 : 0);
    }
    plan->files_digest = digest_of(files.view());

    const auto order = shards_by_box(layout);
    WSYNC_TRY_VOID(find_boxes(layout, order, *plan));
    for (const Shard& box : plan->boxes.shards()) plan->box_blocks += count_blocks(box.box, layout.manifest()[box.tensor].dtype);
    WSYNC_TRY(plan->tensors, encode_version_tensors(plan->boxes));
    const auto writes = choose_writers(layout, order);
    const auto shards = layout.shards_of(rank);
    plan->first_digest.push_back(0);
    for (std::size_t s = 0; s < shards.size(); ++s) {
        plan->writes.push_back(writes[layout.first_shard_of(rank) + s]);
        plan->first_digest.push_back(plan->first_digest.back() + count_blocks(shards[s].box, layout.manifest()[shards[s].tensor].dtype));
    }
    plan->blocks.resize(plan->files.files.size());
    for (std::size_t s = 0; s < shards.size(); ++s)
        if (plan->writes[s]) add_blocks(layout, s, *plan);
    for (auto& blocks : plan->blocks) {
        std::sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) { return a.range.offset < b.range.offset; });
    }
    return std::shared_ptr<const WritePlan>(std::move(plan));
}

bool fits(const WritePlan* plan, const Layout& layout, std::uint32_t rank, const Placement& placement, const SafetensorsMetadata& metadata,
          std::uint64_t shard_bytes) {
    return plan != nullptr && plan->layout_digest == layout.digest() && plan->rank == rank && plan->shard_bytes == shard_bytes &&
           plan->placement == placement && plan->metadata == metadata;
}

}  // namespace wsync
