#include "store/write_plan.hpp"

#include "model/records.hpp"
#include "verify/blocks.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

// By tensor: the layout's shard, or the number of shards for an empty tensor.
Result<std::vector<std::size_t>> whole_shards(const Layout& layout, WritePlan& plan) {
    const auto shards = layout.shards_of(0);
    std::vector<std::size_t> shard_of(layout.manifest().size(), shards.size());
    plan.first_digest.assign(1, 0);
    for (std::size_t s = 0; s < shards.size(); ++s) {
        const TensorSpec& tensor = layout.manifest()[shards[s].tensor];
        if (shards[s].box != Box::whole(tensor.shape)) {
            return Error{Code::unsupported, fmt::format("tensor \"{}\" is held in parts; a version on disk is written from whole tensors", tensor.name)};
        }
        shard_of[shards[s].tensor] = s;
        plan.first_digest.push_back(plan.first_digest.back() + BlockCut(shards[s].box, tensor.dtype).count());
    }
    for (std::size_t t = 0; t < shard_of.size(); ++t) {
        if (shard_of[t] == shards.size() && layout.manifest()[t].bytes() > 0) {
            return Error{Code::invalid_argument, fmt::format("tensor \"{}\" is not held by the rank", layout.manifest()[t].name)};
        }
    }
    return shard_of;
}

}  // namespace

Result<std::shared_ptr<const WritePlan>> make_write_plan(const Layout& layout, const Placement& placement, const SafetensorsMetadata& metadata,
                                                         std::uint64_t shard_bytes) {
    if (layout.ranks() != 1) return Error{Code::unsupported, fmt::format("a version on disk is written from one rank; the layout has {}", layout.ranks())};
    WSYNC_TRY_VOID(check(layout, 0, placement));
    auto plan = std::make_shared<WritePlan>();
    plan->layout_digest = layout.digest();
    plan->placement = placement;
    plan->metadata = metadata;
    plan->shard_bytes = shard_bytes;
    WSYNC_TRY(const auto shard_of, whole_shards(layout, *plan));
    WSYNC_TRY(plan->files, plan_checkpoint_files(layout.manifest(), metadata, shard_bytes));
    plan->manifest = encode(layout.manifest());
    const auto shards = layout.shards_of(0);
    for (const CheckpointFile& file : plan->files.files) {
        auto& blocks = plan->blocks.emplace_back();
        for (const std::uint32_t t : file.tensors) {
            const std::size_t shard = shard_of[t];
            if (shard == shards.size()) continue;
            const BlockCut cut(shards[shard].box, layout.manifest()[t].dtype);
            const ShardPlace& place = placement.places[shard];
            for (std::uint64_t b = 0; b < cut.count(); ++b) {
                blocks.push_back({plan->files.places[t].offset + cut.offset(b), place.region, place.offset + cut.offset(b), cut.bytes(b),
                                  static_cast<std::uint32_t>(shard), plan->first_digest[shard] + b});
            }
        }
    }
    return std::shared_ptr<const WritePlan>(std::move(plan));
}

bool fits(const WritePlan* plan, const Layout& layout, const Placement& placement, const SafetensorsMetadata& metadata, std::uint64_t shard_bytes) {
    return plan != nullptr && plan->layout_digest == layout.digest() && plan->shard_bytes == shard_bytes && plan->placement == placement &&
           plan->metadata == metadata;
}

}  // namespace wsync
