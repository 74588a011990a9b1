#include "explain_text.hpp"

#include "terminal.hpp"
#include "wsync/report/table.hpp"
#include "wsync/report/units.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync::tool {
namespace {

constexpr double kBytesOfTutorialHandle = 100;

std::string grown(std::uint64_t before, std::uint64_t after) {
    return after >= before ? "+" + show_bytes(after - before) : "-" + show_bytes(before - after);
}

double longest(const FsdpExplanation& found, double FsdpRank::* member) {
    double most = 0;
    for (const auto& rank : found.ranks) most = std::max(most, rank.*member);
    return most;
}

std::string steps_table(const FsdpExplanation& found) {
    const auto ranks = found.ranks.size();
    Table table({{"the tutorial's step"}, {"measured here"}});
    table.add({"1. shards", fmt::format("{}: {} on {} ranks", found.layout == "drawn" ? "shard i on rank i mod N" : "every tensor cut into N parts", show_bytes(found.bytes), ranks)});
    std::uint64_t moved = 0;
    for (const auto& rank : found.ranks) moved += rank.bytes_from_others;
    table.add({"2. all-gather", fmt::format("{} between processes by {}; slowest rank {} the first time, {} steady; verified: {}", show_bytes(moved), found.transport,
                                            show_seconds(longest(found, &FsdpRank::first_gather_seconds)), show_seconds(longest(found, &FsdpRank::gather_seconds)),
                                            found.ranks.front().verification)});
    const double each = static_cast<double>(found.handle_bytes) / static_cast<double>(std::max<std::uint64_t>(found.handles, 1));
    table.add({"3. handles, to the coordinator",
               fmt::format("{} handles, {} B in all ({:.0f} B each); one for each tensor and rank would be {} of ~100 B: {}", found.handles, found.handle_bytes, each,
                           found.tensors * ranks, show_bytes(static_cast<std::uint64_t>(kBytesOfTutorialHandle * static_cast<double>(found.tensors * ranks))))});
    table.add({"4. reconstruct", fmt::format("{} a handle, once; a later version uses the same", spread_text(found.open_seconds))});
    table.add({"5. load", fmt::format("a copy of {} into the engine's own tensors, {}", show_bytes(found.bytes), show_seconds(found.load_seconds))});
    return table.render();
}

std::string ranks_table(const FsdpExplanation& found) {
    Table table({{"rank"}, {"holds"}, {"gather moved in"}, {"ledger: before, peak"}, {"RssAnon"}, {"RssShmem"}, {"waited: slowest"}, {"hold"}, {"no gather: extra, waited"}});
    for (std::size_t i = 0; i < found.ranks.size(); ++i) {
        const auto& rank = found.ranks[i];
        table.add({fmt::format("{} (pid {})", i, rank.pid), fmt::format("{} in {} shards", show_bytes(rank.shard_bytes), rank.shards), show_bytes(rank.bytes_from_others),
                   fmt::format("{}, {}", show_bytes(rank.before.ledger), show_bytes(rank.peak.ledger)), grown(rank.before.rss_anon, rank.peak.rss_anon),
                   grown(rank.before.rss_shmem, rank.peak.rss_shmem), show_seconds(rank.waited_seconds), show_seconds(rank.hold_wait_seconds),
                   fmt::format("{}, {}", show_bytes(rank.extra_without_gather), show_seconds(rank.waited_without_gather_seconds))});
    }
    return table.render();
}

std::string ways_table(const FsdpExplanation& found) {
    Table table({{"to loaded"}, {"first"}, {"steady"}, {"bytes moved"}, {"extra on the ranks"}, {"verified"}});
    const auto row = [&](const char* name, const FsdpWay& way) {
        table.add({name, show_seconds(way.first_seconds), show_seconds(way.seconds), show_bytes(way.bytes_moved), show_bytes(way.extra_bytes), way.verification});
    };
    row("gather, handles, load", found.gathered);
    row("shard to shard, by plan", found.direct);
    return table.render() + "From the last rank's shards there with the gather; from the engine's asking by plan, where the shards are there already.\n";
}

}  // namespace

std::string text_of(const FsdpExplanation& found) {
    std::string text = fmt::format("{}\n{} · {} tensors, {} · {} trainer ranks, one engine, a coordinator\n", bold(found.machine), found.model, found.tensors,
                                   show_bytes(found.bytes), found.ranks.size());
    text += fmt::format("\n{}\n{}", bold("the flow"), steps_table(found));
    text += fmt::format("\n{}\n{}", bold("each rank"), ranks_table(found));
    text += "RssShmem counts the gathered tensors and, with shm, the other ranks' shards that were read where they lie.\n";
    text += fmt::format("\n{}\n", bold("three complexities"));
    text += fmt::format("  Lifetimes. A write that came while the engine held was refused after 50 ms: {}.\n"
                        "  One that could wait waited {}: the engine kept its holds for {}.\n",
                        found.refused_write, show_seconds(longest(found, &FsdpRank::hold_wait_seconds)), show_seconds(found.hold_seconds));
    text += fmt::format("  Memory. Whole tensors beside the shards: {} more on {} ranks. Without a gather: {}.\n", show_bytes(found.gathered.extra_bytes), found.ranks.size(),
                        show_bytes(found.direct.extra_bytes));
    const std::string late = found.late_seconds > 0 ? fmt::format("Rank {} came {} late, on purpose. ", found.late_rank, show_seconds(found.late_seconds)) : std::string();
    text += fmt::format("  Coordination. {}Every rank waited for the slowest one's shards, up to {}, and the engine for the handle of rank {}, {} after the first.\n"
                        "  Without a gather only the engine waits; the ranks waited {}.\n",
                        late, show_seconds(longest(found, &FsdpRank::waited_seconds)), found.last_handle, show_seconds(found.collect_seconds),
                        show_seconds(longest(found, &FsdpRank::waited_without_gather_seconds)));
    text += fmt::format("\n{}\n{}", bold("with and without the gather"), ways_table(found));
    text += "Every rank's gathered bytes and the engine's were digested and compared with what their owners hold.\n";
    return text;
}

}  // namespace wsync::tool
