#include "sync/binding.hpp"

#include "verify/blocks.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace wsync {
namespace {

// The same sub-box in the other tensor's coordinates.
Box translate(const Box& box, const Box& from, const Box& to) {
    Box moved = box;
    for (std::size_t d = 0; d < box.offset.size(); ++d) moved.offset[d] = box.offset[d] - from.offset[d] + to.offset[d];
    return moved;
}

// For each rank, the index of each shard's first block in the rank's own list.
std::vector<std::uint64_t> first_blocks(const Layout& layout, std::uint32_t rank) {
    std::vector<std::uint64_t> first{0};
    for (const auto& shard : layout.shards_of(rank))
        first.push_back(first.back() + count_blocks(shard.box, layout.manifest()[shard.tensor].dtype));
    return first;
}

Status check_places(const Layout& source, std::uint32_t rank, const Placement& placement, ShardForm form) {
    if (form == ShardForm::packed) return check(source, rank, placement);
    const auto shards = source.shards_of(rank);
    if (placement.places.size() != shards.size()) return Error{Code::corrupt, fmt::format("{} places for {} shards", placement.places.size(), shards.size()), {}};
    for (std::size_t i = 0; i < shards.size(); ++i) {
        const auto& place = placement.places[i];
        const auto& tensor = source.manifest()[shards[i].tensor];
        if (place.region >= placement.region_bytes.size() || place.offset > placement.region_bytes[place.region] ||
            tensor.bytes() > placement.region_bytes[place.region] - place.offset) {
            return Error{Code::corrupt, fmt::format("tensor {} lies outside its file", tensor.name), {}};
        }
    }
    return {};
}

// Calls visit(box, index of the block or kCustom, whether it is only a part of that block) for the blocks of a copy.
template <class Visit>
void for_each_bound_block(const Box& shard, const Box& copied, DType dtype, std::uint64_t first_digest, ShardForm form, Visit&& visit) {
    const bool whole = copied == shard;
    if (whole || form == ShardForm::packed) {
        for_each_block(copied, dtype, [&](const Box& box) { visit(box, whole ? static_cast<std::uint32_t>(first_digest++) : BoundBlock::kCustom, false); });
        return;
    }
    const BlockCut cut(shard, dtype);
    for (std::uint64_t b = 0; b < cut.count(); ++b) {
        const Box block = cut.block(b);
        if (const auto common = intersect(block, copied)) visit(*common, static_cast<std::uint32_t>(first_digest + b), *common != block);
    }
}

}  // namespace

Result<Binding> bind_plan(const Plan& plan, const Layout& source, std::span<const Placement> source_places, const Layout& sink, std::uint32_t sink_rank,
                     const Placement& sink_place, ShardForm form) {
    Binding binding;
    std::vector<std::vector<std::uint64_t>> first(source.ranks());
    std::set<std::uint32_t> ranks;
    WSYNC_TRY_VOID(check(sink, sink_rank, sink_place).within("placing what is to be received"));
    const auto sink_first = sink.first_shard_of(sink_rank);
    const auto sink_count = sink.shards_of(sink_rank).size();
    for (const auto& copy : plan.copies()) {
        if (copy.sink_shard < sink_first || copy.sink_shard >= sink_first + sink_count) continue;
        if (copy.source_shard >= source.shards().size()) {
            return Error{Code::invalid_argument, fmt::format("the plan reads shard {} of a source of {}: it was made for another layout", copy.source_shard, source.shards().size()), {}};
        }
        const auto& from = source.shards()[copy.source_shard];
        const auto& to = sink.shards()[copy.sink_shard];
        const auto dtype = source.manifest()[from.tensor].dtype;
        if (!from.box.contains(copy.source_box) || !to.box.contains(copy.sink_box) || copy.source_box.size != copy.sink_box.size ||
            sink.manifest()[to.tensor].dtype != dtype) {
            return Error{Code::invalid_argument, fmt::format("the plan copies {} of {} to {} of {}: it was made for other layouts", copy.source_box.to_string(),
                                                             source.manifest()[from.tensor].name, copy.sink_box.to_string(), sink.manifest()[to.tensor].name), {}};
        }
        if (first[from.rank].empty()) {
            if (from.rank >= source_places.size()) return Error{Code::corrupt, fmt::format("source rank {} has no placement", from.rank), {}};
            auto fits = check_places(source, from.rank, source_places[from.rank], form);
            if (!fits) return Error{Code::corrupt, fmt::format("the placement of source rank {} does not fit its layout: {}", from.rank, fits.error().message), {}};
        }
        const auto local = static_cast<std::uint32_t>(copy.source_shard - source.first_shard_of(from.rank));
        const auto place = source_places[from.rank].places[local];
        const auto target = sink_place.places[copy.sink_shard - sink_first];
        ranks.insert(from.rank);
        if (first[from.rank].empty()) first[from.rank] = first_blocks(source, from.rank);
        const Box container = form == ShardForm::packed ? from.box : Box::whole(source.manifest()[from.tensor].shape);
        for_each_bound_block(from.box, copy.source_box, dtype, first[from.rank][local], form, [&](const Box& box, std::uint32_t digest, bool part) {
            BoundBlock block;
            block.source_rank = from.rank;
            block.source_region = place.region;
            block.source_shard = local;
            block.sink_shard = copy.sink_shard;
            block.source_box = box;
            block.sink_box = translate(box, copy.source_box, copy.sink_box);
            block.source_base = place.offset;
            block.sink_base = target.offset;
            block.sink_region = target.region;
            block.first_rows = static_cast<std::uint32_t>(binding.rows.size());
            append_rows(binding.rows, dtype, container, box, to.box, block.sink_box);
            block.rows = static_cast<std::uint32_t>(binding.rows.size()) - block.first_rows;
            block.bytes = box.bytes(dtype);
            block.default_digest = digest;
            block.part = part;
            binding.bytes += block.bytes;
            binding.blocks.push_back(std::move(block));
        });
    }
    for (const auto& fill : plan.fills()) {
        if (fill.sink_shard < sink_first || fill.sink_shard >= sink_first + sink_count) continue;
        const auto& to = sink.shards()[fill.sink_shard];
        if (!to.box.contains(fill.sink_box)) {
            return Error{Code::invalid_argument, fmt::format("the plan fills {} of {}: it was made for other layouts", fill.sink_box.to_string(), sink.manifest()[to.tensor].name), {}};
        }
        const auto target = sink_place.places[fill.sink_shard - sink_first];
        std::vector<Rows> rows;
        append_rows(rows, sink.manifest()[to.tensor].dtype, to.box, fill.sink_box, to.box, fill.sink_box);
        for (const auto& r : rows) binding.fills.push_back({target.region, target.offset, r, fill.value});
    }
    binding.source_ranks.assign(ranks.begin(), ranks.end());
    return binding;
}

}  // namespace wsync
