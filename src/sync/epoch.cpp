#include "sync/epoch.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <thread>

namespace wsync {
namespace {

std::string random_run() {
    auto nonce = random_nonce();
    return nonce ? digest_of(*nonce).hex().substr(0, 12) : "run";
}

// The ranks of an epoch whose process is not known to be dead.
Result<std::vector<std::pair<std::string, RankRecord>>> ranks_of(Control& control, const std::string& name, std::uint64_t epoch) {
    WSYNC_TRY(auto entries, control.read(rank_prefix(name, epoch)));
    std::vector<std::pair<std::string, RankRecord>> ranks;
    for (const auto& entry : entries) {
        auto record = decode_rank(entry.value);
        if (!record) return std::move(record).error().within(fmt::format("reading {}", entry.key));
        if (liveness_of(record->process) != Liveness::dead) ranks.emplace_back(entry.key, *std::move(record));
    }
    return ranks;
}

}  // namespace

Result<std::optional<ControlEntry>> read_one(Control& control, const std::string& key) {
    WSYNC_TRY(auto entries, control.read(key));
    for (auto& entry : entries)
        if (entry.key == key) return std::optional<ControlEntry>(std::move(entry));
    return std::optional<ControlEntry>();
}

Result<EpochRecord> read_epoch(Control& control, const std::string& name) {
    WSYNC_TRY(auto entry, read_one(control, epoch_key(name)));
    if (!entry) {
        return Error{Code::not_found, fmt::format("nobody has published \"{}\" at {}: is the trainer's control address the same?", name, control.address()), {}};
    }
    return decode_epoch(entry->value).within(fmt::format("reading {} at {}", entry->key, control.address()));
}

Result<std::optional<HeadRecord>> read_head(Control& control, const std::string& name) {
    WSYNC_TRY(auto entry, read_one(control, head_key(name)));
    if (!entry) return std::optional<HeadRecord>();
    WSYNC_TRY(auto head, decode_head(entry->value).within(fmt::format("reading {} at {}", entry->key, control.address())));
    return std::optional<HeadRecord>(std::move(head));
}

Result<RankRecord> read_rank(Control& control, const std::string& name, std::uint64_t epoch, std::uint32_t rank) {
    const auto key = rank_key(name, epoch, rank);
    WSYNC_TRY(auto entry, read_one(control, key));
    if (!entry) return Error{Code::peer_lost, fmt::format("rank {} of epoch {} of \"{}\" has gone (its lease ended)", rank, epoch, name), {}};
    return decode_rank(entry->value).within(fmt::format("reading {} at {}", key, control.address()));
}

Status check_epoch(Control& control, const std::string& name, std::uint64_t epoch) {
    WSYNC_TRY(auto record, read_epoch(control, name));
    if (record.epoch == epoch) return {};
    return Error{Code::unavailable, fmt::format("\"{}\" was taken over by epoch {} (run {}): this publisher, epoch {}, is fenced", name, record.epoch, record.run, epoch), {}};
}

Result<EpochRecord> open_epoch(Control& control, const EpochClaim& claim) {
    WSYNC_TRY_VOID(check_publication_name(claim.name));
    if (claim.world == 0 || claim.rank >= claim.world) {
        return Error{Code::invalid_argument, fmt::format("rank {} of a world of {}: ranks count from 0", claim.rank, claim.world), {}};
    }
    if (claim.run.empty() && claim.world > 1) {
        return Error{Code::invalid_argument, "a publisher of several ranks needs a run id that is the same on all of them", {}};
    }
    const std::string run = claim.run.empty() ? random_run() : claim.run;
    while (true) {
        WSYNC_TRY(auto entry, read_one(control, epoch_key(claim.name)));
        std::uint64_t taken = 0;
        if (entry) {
            WSYNC_TRY(auto record, decode_epoch(entry->value).within(fmt::format("reading {} at {}", entry->key, control.address())));
            taken = record.epoch;
            WSYNC_TRY(auto head, read_head(control, claim.name));
            WSYNC_TRY(auto ranks, ranks_of(control, claim.name, record.epoch));
            const auto own = rank_key(claim.name, record.epoch, claim.rank);
            const bool rank_taken = std::any_of(ranks.begin(), ranks.end(), [&](const auto& rank) { return rank.first == own; });
            const bool published = head && head->version.epoch == record.epoch;
            if (record.run == run && !published && !rank_taken && claim.world > 1) {
                if (record.world != claim.world || record.layout != claim.layout) {
                    return Error{Code::invalid_argument,
                                 fmt::format("run {} of \"{}\" was opened with a world of {} and layout {}; this rank says {} and {}", run, claim.name,
                                             record.world, record.layout.short_hex(), claim.world, claim.layout.short_hex()),
                                 {}};
                }
                return record;
            }
            if (!ranks.empty()) {
                const auto& rival = ranks.front().second.process;
                // On this machine the rival was just seen alive; elsewhere its lease may be about to end.
                if (liveness_of(rival) == Liveness::alive || claim.deadline.expired()) {
                    return Error{Code::unavailable,
                                 fmt::format("\"{}\" is being published by {} (epoch {}, run {}): stop it first, or choose another name", claim.name,
                                             rival.to_string(), record.epoch, record.run),
                                 {}};
                }
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
                continue;
            }
        }
        EpochRecord record{taken + 1, run, claim.world, claim.layout, {}};
        WSYNC_TRY(record.secret, random_secret());
        auto put = control.compare_and_put(epoch_key(claim.name), entry ? entry->revision : 0, encode(record), nullptr);
        if (put) return record;
        // Somebody else took it in between: look again (a rank of this run joins, a rival is an error).
        if (put.error().code != Code::unavailable || claim.deadline.expired()) return std::move(put).error();
    }
}

void remove_older_epochs(Control& control, const std::string& name, std::uint64_t epoch) {
    const auto entries = control.read(name);
    if (!entries) return;
    for (const auto& entry : *entries) {
        // NAME/eE/...
        if (entry.key.size() <= name.size() + 2 || entry.key.compare(name.size(), 2, "/e") != 0) continue;
        std::uint64_t number = 0;
        const auto* end = entry.key.data() + entry.key.size();
        const auto [next, failed] = std::from_chars(entry.key.data() + name.size() + 2, end, number);
        if (failed == std::errc{} && next != end && *next == '/' && number < epoch) (void)control.remove(entry.key);
    }
}

}  // namespace wsync
