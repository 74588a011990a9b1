// How a receiver stages: by copy into a slab of its own, or by mapping the publisher's.
#include "base/parallel.hpp"
#include "sync/receiver.hpp"
#include "sync/stopwatch.hpp"
#include "verify/at_rest.hpp"
#include "verify/mismatch.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

Error wrong_bytes(const Layout& sink, const Binding& binding, const BoundBlock& block, std::string_view where) {
    const auto& shard = sink.shards()[block.sink_shard];
    return mismatch_error({sink.manifest()[shard.tensor].name, block.sink_box, block.sink_base + binding.rows[block.first_rows].sink_offset, block.bytes})
        .within(fmt::format("verifying {} what rank {} sent", where, block.source_rank));
}

}  // namespace

Result<std::shared_ptr<Slot>> ReceiverCore::take_slot(Deadline deadline) {
    if (options_.slabs == 1) {
        // In place: the version that served is given up first.
        previous_.reset();
        std::lock_guard lock(mutex_);
        active_.reset();
    } else if (auto free = slots_->take(Deadline::now())) {
        return free;
    }
    previous_.reset();  // rollback ends where the next stage needs its slab
    return slots_->take(deadline);
}

Status ReceiverCore::stage_copy(ServedVersion& staged, Deadline deadline) {
    auto& report = staged.report;
    const auto& binding = planned_.binding;
    Stopwatch watch;

    WSYNC_TRY(auto hold, source_->hold(staged.version, HoldKind::copy, binding.source_ranks, deadline));
    report.stages[Stage::prepare] = hold->times().prepare_seconds;
    if (from_disk_) report.stages[Stage::expose] = hold->times().store_seconds;
    report.trainer_blocked_seconds = hold->times().blocked_seconds;
    report.stages[Stage::signal] = watch.lap();

    WSYNC_TRY(auto slot, take_slot(deadline));
    if (slot->binding != planned_.digest) {
        slot->binding = planned_.digest;
        slot->digests.assign(binding.blocks.size(), Digest{});
        if (options_.make_slot && options_.reuse_blocks) digest_slot(*slot, deadline);
    }
    const bool verified = options_.verification != Verification::none;
    std::vector<Digest> expected;
    if (verified) {
        WSYNC_TRY(expected, hold->expected(binding, deadline));
    }
    std::vector<std::uint32_t> changed;
    std::span<const std::uint32_t> to_move = planned_.all_blocks;
    if (verified && options_.reuse_blocks) {
        // Blocks that are there already, of an older version or of a stage that broke, are not moved again.
        for (auto i : planned_.all_blocks)
            if (slot->digests[i] != expected[i]) changed.push_back(i);
        to_move = changed;
    }
    std::vector<Digest> found(binding.blocks.size());
    Work work;
    work.binding = &binding;
    work.blocks = to_move;
    work.routes = &hold->routes();
    work.sink = std::span(&slot->region, 1);
    work.sink_layout = planned_.sink.get();
    work.sink_place = &planned_.place;
    work.want_digests = verified;
    work.digests = found;
    std::uint64_t bytes = 0;
    for (auto i : to_move) bytes += binding.blocks[i].bytes;
    if (options_.progress) work.moved = [&, bytes](std::uint64_t moved) { options_.progress(moved, bytes); };
    WSYNC_TRY_VOID(executor_->connect(work, deadline));
    report.stages[Stage::connect] = watch.lap();

    slot->label = "torn";
    if (options_.slabs == 1) poisoned_ = true;
    for (auto i : to_move) slot->digests[i] = Digest{};
    auto moved = executor_->run(work, deadline);
    report.stages[Stage::move] = watch.lap();
    if (verified) {
        // Also after a failure: what arrived and is right need not be moved again.
        auto right = verify_blocks(*slot, to_move, found, expected);
        if (moved && !right) return std::move(right).error();
    }
    WSYNC_TRY_VOID(std::move(moved));
    report.bytes_moved = bytes;
    report.blocks_reused = binding.blocks.size() - to_move.size();
    report.verification = verified ? Verification::content : Verification::none;
    if (verified && (!planned_.proved_at_rest || options_.verification == Verification::content_at_rest)) {
        WSYNC_TRY_VOID(verify_at_rest(*slot, expected, deadline));
        planned_.proved_at_rest = true;
        report.verification = Verification::content_at_rest;
    }
    report.blocks_verified = verified ? binding.blocks.size() : 0;
    auto standing = hold->confirm(deadline);
    if (!standing) {
        slot->digests.assign(binding.blocks.size(), Digest{});
        return std::move(standing).error();
    }
    hold.reset();
    report.stages[Stage::verify] = watch.lap();

    slot->label = staged.version.label();
    staged.slot = slot;
    staged.bases = {slot->region.address};
    return {};
}

Status ReceiverCore::verify_blocks(Slot& slot, std::span<const std::uint32_t> moved, std::span<const Digest> found, std::span<const Digest> expected) {
    const BoundBlock* first_wrong = nullptr;
    for (auto i : moved) {
        if (found[i] == expected[i]) {
            slot.digests[i] = found[i];
        } else if (first_wrong == nullptr) {
            first_wrong = &planned_.binding.blocks[i];
        }
    }
    if (first_wrong != nullptr) return wrong_bytes(*planned_.sink, planned_.binding, *first_wrong, "on arrival");
    return {};
}

// Memory that came with bytes: which of its blocks are right already is seen by their digests.
void ReceiverCore::digest_slot(Slot& slot, Deadline deadline) const {
    const auto& blocks = planned_.binding.blocks;
    parallel_for(blocks.size(), options_.executor.threads, [&](std::size_t i) {
        if (deadline.expired()) return;
        auto digest = digest_box_at_rest(*planned_.sink, blocks[i].sink_shard, blocks[i].sink_box, planned_.place, std::span(&slot.region, 1), kernels_);
        if (digest) slot.digests[i] = *digest;
    });
}

Status ReceiverCore::verify_at_rest(const Slot& slot, std::span<const Digest> expected, Deadline deadline) {
    const auto& blocks = planned_.binding.blocks;
    std::mutex mutex;
    std::optional<Error> error;
    const auto fail = [&](Error e) {
        std::lock_guard lock(mutex);
        if (!error) error = std::move(e);
    };
    parallel_for(blocks.size(), options_.executor.threads, [&](std::size_t i) {
        if (deadline.expired()) return fail({Code::timed_out, "the deadline passed while the received bytes were read back", {}});
        auto digest = digest_box_at_rest(*planned_.sink, blocks[i].sink_shard, blocks[i].sink_box, planned_.place, std::span(&slot.region, 1), kernels_);
        if (digest && *digest == expected[i]) return;
        fail(digest ? wrong_bytes(*planned_.sink, planned_.binding, blocks[i], "at rest") : std::move(digest).error());
    });
    if (error) return *std::move(error);
    return {};
}

Result<std::vector<ViewPlace>> ReceiverCore::find_views(const Planned& planned) const {
    const auto& source = source_->layout();
    const auto& sink = *planned.sink;
    const auto shards = sink.shards_of(options_.rank);
    std::vector<ViewPlace> views(shards.size());
    for (std::size_t i = 0; i < shards.size(); ++i)
        views[i] = {0, planned.place.places[i].offset, shards[i].box.bytes(sink.manifest()[shards[i].tensor].dtype)};
    if (options_.use == Use::copy) return views;

    const auto needs_copy = [&](const Shard& shard, std::string_view why) {
        return Error{Code::unsupported,
                     fmt::format("tensor {}, box {}, {}: it can't be used where it lies; choose Use::copy, or the trainer's own boxes",
                                 sink.manifest()[shard.tensor].name, shard.box.to_string(), why),
                     {}};
    };
    if (!planned.plan.fills().empty()) return needs_copy(sink.shards()[planned.plan.fills().front().sink_shard], "is filled");
    std::vector<Rows> rows;
    for (const auto& copy : planned.plan.copies()) {
        const auto& to = sink.shards()[copy.sink_shard];
        const auto& from = source.shards()[copy.source_shard];
        if (copy.sink_box != to.box) return needs_copy(to, "comes from several shards of the trainer");
        rows.clear();
        append_rows(rows, sink.manifest()[to.tensor].dtype, from.box, copy.source_box, to.box, copy.sink_box);
        if (rows.size() != 1 || rows[0].rows != 1) return needs_copy(to, "is strided in the trainer's shard");
        const auto& place = source_->placements()[from.rank].places[copy.source_shard - source.first_shard_of(from.rank)];
        auto& view = views[copy.sink_shard - sink.first_shard_of(options_.rank)];
        view.base = from.rank;
        view.offset = place.offset + rows[0].source_offset;
    }
    return views;
}

Status ReceiverCore::stage_map(ServedVersion& staged, Deadline deadline) {
    auto& report = staged.report;
    const auto& binding = planned_.binding;
    Stopwatch watch;
    const auto kind = options_.use == Use::serve_in_place ? HoldKind::serve : HoldKind::install;
    WSYNC_TRY(staged.hold, source_->hold(staged.version, kind, binding.source_ranks, deadline));
    report.stages[Stage::prepare] = staged.hold->times().prepare_seconds;
    report.trainer_blocked_seconds = staged.hold->times().blocked_seconds;
    report.stages[Stage::signal] = watch.lap();

    const auto& routes = staged.hold->routes();
    staged.bases.assign(source_->layout().ranks(), nullptr);
    for (auto rank : binding.source_ranks) {
        const auto& route = routes[rank].front();
        WSYNC_TRY(auto region, executor_->map(route, deadline).within(fmt::format("mapping the slab of rank {}", rank)));
        for (const auto& descriptor : route.descriptors)
            if (report.first) report.bytes_moved += descriptor.bytes.size();
        staged.bases[rank] = region.address;
        staged.mapped.push_back(std::move(region));
        const auto generation = executor_->generation(route);
        if (!generation || *generation != route.generation) {
            return Error{Code::corrupt, fmt::format("the slab of rank {} was written under the hold (generation {} granted, {} found)", rank, route.generation, generation.value_or(0)), {}};
        }
    }
    report.stages[Stage::connect] = watch.lap();
    report.verification = Verification::identity;
    report.stages[Stage::verify] = watch.lap();
    return {};
}

}  // namespace wsync
