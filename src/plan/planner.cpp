#include "plan/planner.hpp"

#include "model/disjoint.hpp"
#include "plan/coverage.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

namespace wsync {
namespace {

// Pairs of boxes of one plan that are compared where no clean cut separates them: tenths of a second.
constexpr std::uint64_t kPairBudget = 20'000'000;

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message), {}}; }

bool before(const Dims& a, const Dims& b) { return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end()); }

// Whether each row of `box`, a part of `shard`, begins and ends on a byte of the packed shard.
bool on_whole_bytes(const Box& shard, Box box, DType dtype) {
    for (std::size_t d = 0; d < box.offset.size(); ++d) box.offset[d] -= shard.offset[d];
    return cut_on_bytes(box, shard.size, dtype);
}

// Parts are in order of their offsets: whether this one and all that follow begin behind the box.
bool lies_behind(const MappedPart& part, const Box& box) {
    return !box.offset.empty() && part.sink_box.offset[0] >= box.offset[0] + box.size[0];
}

// A region of the part's sink box in the source tensor's coordinates.
Box in_source(const MappedPart& part, Box region) {
    for (std::size_t d = 0; d < region.offset.size(); ++d) region.offset[d] += part.source_box.offset[d] - part.sink_box.offset[d];
    return region;
}

// Puts the values from `first` on in order of their sink offset. The values are large: their numbers are sorted.
template <class Step, class Companion>
void order_by_offset(std::vector<Step>& steps, std::size_t first, std::vector<Companion>* companions) {
    const auto earlier = [](const Step& a, const Step& b) { return before(a.sink_box.offset, b.sink_box.offset); };
    const auto begin = steps.begin() + static_cast<std::ptrdiff_t>(first);
    if (std::is_sorted(begin, steps.end(), earlier)) return;
    const std::vector<Step> unordered(begin, steps.end());
    std::vector<std::uint32_t> order(unordered.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return earlier(unordered[a], unordered[b]); });
    for (std::size_t i = 0; i < order.size(); ++i) steps[first + i] = unordered[order[i]];
    if (companions != nullptr) {
        const std::vector<Companion> old = *companions;
        for (std::size_t i = 0; i < order.size(); ++i) (*companions)[i] = old[order[i]];
    }
}

// The source tensors that the planned shards are made of.
std::vector<bool> wanted_tensors(const Layout& source, const Layout& sink, const ResolvedMapping& mapping, const SinkShards& planned) {
    std::vector<bool> wanted(source.manifest().size(), false);
    for (std::uint32_t t = 0; t < sink.manifest().size(); ++t) {
        if (!planned.wants(t)) continue;
        for (const MappedPart& part : mapping.parts_of(t)) {
            if (!part.fill) wanted[part.source_tensor] = true;
        }
    }
    return wanted;
}

}  // namespace

SinkShards::SinkShards(const Layout& sink, const std::vector<bool>& planned_ranks) : first(sink.manifest().size() + 1, 0) {
    const auto& all = sink.shards();
    for (const Shard& shard : all) {
        if (planned_ranks[shard.rank]) ++first[shard.tensor + 1];
    }
    std::partial_sum(first.begin(), first.end(), first.begin());
    shards.resize(first.back());
    std::vector<std::size_t> next(first.begin(), first.end() - 1);
    for (std::uint32_t s = 0; s < all.size(); ++s) {
        if (planned_ranks[all[s].rank]) shards[next[all[s].tensor]++] = s;
    }
}

Planner::Planner(const Layout& source, const Layout& sink, const ResolvedMapping& mapping, const std::vector<bool>& planned_sinks,
                 std::uint32_t replica_seed)
    : by_sink(sink.ranks(), 0),
      source_(source),
      sink_(sink),
      mapping_(mapping),
      planned_(sink, planned_sinks),
      index_(source, wanted_tensors(source, sink, mapping, planned_)),
      balancer_(source.ranks(), replica_seed),
      pair_budget_(kPairBudget) {}

Status Planner::run() {
    const auto& numbers = planned_.shards;
    copies.reserve(count_copies());  // they are large and may be a million: growing would move them all, several times
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const Shard& shard = sink_.shards()[numbers[i]];
        WSYNC_TRY_VOID(plan_shard(numbers[i]));
        const bool last = i + 1 == numbers.size();
        const Shard* next = last ? nullptr : &sink_.shards()[numbers[i + 1]];
        if (last || next->rank != shard.rank || next->tensor != shard.tensor) close_segment(shard.rank);
    }
    choose_replicas();
    by_source = balancer_.loads();
    return {};
}

std::size_t Planner::count_copies() const {
    std::size_t count = 0;
    for (std::uint32_t number : planned_.shards) {
        const Shard& shard = sink_.shards()[number];
        for (const MappedPart& part : mapping_.parts_of(shard.tensor)) {
            if (lies_behind(part, shard.box)) break;
            const auto region = part.fill ? std::nullopt : intersect(shard.box, part.sink_box);
            if (region) index_.for_each_overlap(part.source_tensor, in_source(part, *region), [&](const SourceGroup&, const Box&) { ++count; });
        }
    }
    return count;
}

Status Planner::plan_shard(std::uint32_t sink_shard) {
    const Shard& shard = sink_.shards()[sink_shard];
    const auto parts = mapping_.parts_of(shard.tensor);
    std::uint64_t mapped = 0;
    for (const MappedPart& part : parts) {
        if (lies_behind(part, shard.box)) break;
        const auto region = intersect(shard.box, part.sink_box);
        if (!region) continue;
        mapped += region->elements();
        if (part.fill) {
            WSYNC_TRY_VOID(plan_fill(sink_shard, part, *region));
        } else {
            WSYNC_TRY_VOID(plan_copies(sink_shard, part, *region));
        }
    }
    // The parts are disjoint, so that the numbers alone prove that nothing is missing.
    if (mapped == shard.box.elements()) return {};
    std::vector<Box> boxes;
    for (const MappedPart& part : parts) boxes.push_back(part.sink_box);
    const auto gap = find_gap(shard.box, boxes);
    return bad(fmt::format("the mapping says nothing about box {} of tensor \"{}\", which sink rank {} wants: map it or fill it",
                           gap ? gap->to_string() : shard.box.to_string(), sink_.manifest()[shard.tensor].name, shard.rank));
}

Status Planner::plan_fill(std::uint32_t sink_shard, const MappedPart& part, const Box& region) {
    const Shard& shard = sink_.shards()[sink_shard];
    const TensorSpec& tensor = sink_.manifest()[shard.tensor];
    if (!on_whole_bytes(shard.box, region, tensor.dtype)) {
        return bad(fmt::format("tensor \"{}\": the fill of box {} of sink rank {} cuts a byte ({} bits an element): cut it on whole bytes",
                               tensor.name, region.to_string(), shard.rank, bits_of(tensor.dtype)));
    }
    fills.push_back({sink_shard, region, part.value});
    filled_bytes += region.bytes(tensor.dtype);
    return {};
}

Status Planner::plan_copies(std::uint32_t sink_shard, const MappedPart& part, const Box& region) {
    const std::size_t first = copies.size();
    const Box wanted = in_source(part, region);
    index_.for_each_overlap(part.source_tensor, wanted, [&](const SourceGroup& group, const Box& common) {
        Copy& copy = copies.emplace_back();
        copy.source_shard = index_.holders(group).front();  // of replicas one is chosen later
        copy.sink_shard = sink_shard;
        copy.source_box = common;
        copy.sink_box = common;
        for (std::size_t d = 0; d < common.offset.size(); ++d) {
            copy.sink_box.offset[d] = common.offset[d] - wanted.offset[d] + region.offset[d];
        }
        segment_groups_.push_back(&group);
    });
    return prove(first, region, sink_shard);
}

Status Planner::prove(std::size_t first, const Box& region, std::uint32_t sink_shard) {
    const Shard& shard = sink_.shards()[sink_shard];
    const TensorSpec& tensor = sink_.manifest()[shard.tensor];
    std::uint64_t held = 0;
    for (std::size_t i = first; i < copies.size(); ++i) held += copies[i].sink_box.elements();
    const std::uint64_t wanted = region.elements();
    if (held < wanted) {
        std::vector<Box> boxes;
        for (std::size_t i = first; i < copies.size(); ++i) boxes.push_back(copies[i].sink_box);
        const auto gap = find_gap(region, boxes);
        return bad(fmt::format("tensor \"{}\": no source rank holds box {}, which sink rank {} wants", tensor.name,
                               gap ? gap->to_string() : region.to_string(), shard.rank));
    }
    // A full source's distinct boxes were proved disjoint when it was made, and parts of disjoint boxes are disjoint.
    if (held > wanted || (source_.coverage() == Coverage::partial && copies.size() - first > 1)) {
        std::vector<const Box*> boxes;
        for (std::size_t i = first; i < copies.size(); ++i) boxes.push_back(&copies[i].sink_box);
        const DisjointProof proof = prove_disjoint(boxes, pair_budget_);
        if (proof.overlap) {
            const Copy &a = copies[first + proof.overlap->first], &b = copies[first + proof.overlap->second];
            const auto common = intersect(a.sink_box, b.sink_box);
            const auto rank_of = [&](const Copy& copy) { return source_.shards()[copy.source_shard].rank; };
            return bad(fmt::format("tensor \"{}\": box {} of sink rank {} would be written twice, from source ranks {} and {}: replicas must be "
                                   "equal boxes",
                                   tensor.name, common ? common->to_string() : region.to_string(), shard.rank, rank_of(a), rank_of(b)));
        }
        if (proof.given_up) {
            return Error{Code::unsupported,
                         fmt::format("tensor \"{}\": the source's boxes are too entangled to be proved disjoint: cut them along whole dimensions",
                                     tensor.name),
                         {}};
        }
    }
    if (bits_of(tensor.dtype) % 8 == 0) return {};
    for (std::size_t i = first; i < copies.size(); ++i) {
        const Copy& copy = copies[i];
        if (!on_whole_bytes(source_.shards()[copy.source_shard].box, copy.source_box, tensor.dtype) ||
            !on_whole_bytes(shard.box, copy.sink_box, tensor.dtype)) {
            return bad(fmt::format("tensor \"{}\": box {} of sink rank {} meets box {} of source rank {} inside a byte ({} bits an element): cut "
                                   "both on whole bytes",
                                   tensor.name, shard.box.to_string(), shard.rank, source_.shards()[copy.source_shard].box.to_string(),
                                   source_.shards()[copy.source_shard].rank, bits_of(tensor.dtype)));
        }
    }
    return {};
}

void Planner::close_segment(std::uint32_t sink_rank) {
    order_by_offset(copies, segment_copies_, &segment_groups_);
    order_by_offset<Fill, char>(fills, segment_fills_, nullptr);
    for (std::size_t i = segment_copies_; i < copies.size(); ++i) {
        const Copy& copy = copies[i];
        const std::uint64_t bytes = copy.sink_box.bytes(sink_.manifest()[sink_.shards()[copy.sink_shard].tensor].dtype);
        const SourceGroup* group = segment_groups_[i - segment_copies_];
        if (group->count == 1) {
            balancer_.add(index_.ranks(*group).front(), bytes);
        } else {
            choices_.push_back({i, bytes, group});
        }
        copied_bytes += bytes;
        by_sink[sink_rank] += bytes;
    }
    segment_copies_ = copies.size();
    segment_fills_ = fills.size();
    segment_groups_.clear();
}

void Planner::choose_replicas() {
    // The large ones first: the small ones then even out what is left.
    std::stable_sort(choices_.begin(), choices_.end(), [](const Choice& a, const Choice& b) { return a.bytes > b.bytes; });
    for (const Choice& choice : choices_) {
        copies[choice.copy].source_shard = index_.holders(*choice.group)[balancer_.assign(index_.ranks(*choice.group), choice.bytes)];
    }
}

}  // namespace wsync
