#include "measure/live_figures.hpp"

#include "measure/explain_fsdp.hpp"
#include "measure/explain_ipc.hpp"
#include "wsync/model/catalogue.hpp"
#include "wsync/report/units.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::uint64_t kSmallestProbe = 1 << 20, kLargestProbe = 256 << 20;

MeasuredHandle to_measured(const IpcExplanation& found) {
    return {.bytes = found.handle_bytes, .opens_bytes = found.bytes, .moved_bytes = found.weight_bytes_moved(), .open_seconds = found.open_seconds.median};
}

MeasuredGather to_measured(const FsdpExplanation& found) {
    MeasuredGather gather;
    gather.ranks = static_cast<unsigned>(found.ranks.size());
    gather.model_bytes = found.bytes;
    gather.handle_bytes = found.handle_bytes;
    gather.gathered_seconds = found.gathered.seconds;
    gather.direct_seconds = found.direct.seconds;
    for (const auto& rank : found.ranks) {
        gather.received_bytes = std::max(gather.received_bytes, rank.bytes_from_others);
        gather.seconds = std::max(gather.seconds, rank.gather_seconds);
        if (rank.shard_bytes <= gather.shard_bytes) continue;
        gather.shard_bytes = rank.shard_bytes;
        gather.extra_bytes = rank.peak.ledger - std::min(rank.peak.ledger, rank.before.ledger);
    }
    return gather;
}

}  // namespace

Result<MeasuredFigures> measure_live(const LiveOptions& options) {
    WSYNC_TRY(const auto manifest, manifest_of_size(options.bytes));
    const auto part = [&](double begin, double share) {
        return [&options, begin, share](double fraction, std::string_view what) {
            if (options.progress) options.progress(begin + share * fraction, what);
        };
    };

    BenchOptions bench;
    WSYNC_TRY(bench.source, Layout::replicated(manifest, 1));
    bench.model = show_bytes(options.bytes);
    if (options.directory.empty()) std::erase(bench.methods, "disk");
    if (!options.directory.empty()) bench.directory = options.directory;
    bench.runs = options.runs;
    bench.max_probe_bytes = std::clamp(options.bytes / 4096 * 4096, kSmallestProbe, kLargestProbe);
    bench.interrupted = options.interrupted;
    bench.progress = part(0, 0.7);
    WSYNC_TRY(const auto result, run_bench(bench).within("benching the ways live"));
    // Through the same document as a bench of its own: one reading of it, one meaning.
    WSYNC_TRY(auto figures, measured_from_bench(to_json(result).dump(), fmt::format("a short live run, {}, {} rounds", bench.model, options.runs)));

    ExplainIpcOptions ipc;
    ipc.manifest = manifest;
    ipc.model = bench.model;
    ipc.interrupted = options.interrupted;
    ipc.progress = part(0.7, 0.1);
    WSYNC_TRY(const auto handle, explain_ipc(ipc).within("opening a handle live"));
    figures.handle = to_measured(handle);

    ExplainFsdpOptions fsdp;
    fsdp.manifest = manifest;
    fsdp.model = bench.model;
    fsdp.ranks = options.ranks;
    fsdp.late_seconds = 0;
    fsdp.hold_seconds = 0;
    fsdp.interrupted = options.interrupted;
    fsdp.progress = part(0.8, 0.2);
    WSYNC_TRY(const auto gather, explain_fsdp(fsdp).within("gathering shards live"));
    figures.gather = to_measured(gather);
    return figures;
}

}  // namespace wsync
