#include "measure/fault_demo.hpp"

#include "transport/fault/fault_transport.hpp"
#include "verify/blocks.hpp"
#include "wsync/report/units.hpp"

#include <csignal>
#include <fmt/format.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;

std::uint64_t blocks_of(const Layout& layout) {
    std::uint64_t blocks = 0;
    for (const auto& shard : layout.shards()) blocks += count_blocks(shard.box, layout.manifest()[shard.tensor].dtype);
    return blocks;
}

// Two receivers over tcp, one of them behind a faulty transport.
Result<std::unique_ptr<Fleet>> start_fleet(const FaultDemoOptions& options, const FaultPolicy& policy, unsigned faulty) {
    FleetOptions fleet;
    fleet.source = options.source;
    fleet.checkpoint = options.checkpoint;
    fleet.receivers = 2;
    fleet.interrupted = options.interrupted;
    fleet.methods = {"tcp"};
    fleet.prepare_receiver = [policy, faulty](SessionOptions& session, unsigned index) {
        if (index != faulty) return;
        session.decorate = [policy](std::unique_ptr<Transport> inner) { return make_fault_transport(std::move(inner), policy); };
    };
    return Fleet::start(std::move(fleet));
}

// Everybody serves a first version, checked byte for byte.
Status serve_first(Fleet& fleet) {
    WSYNC_TRY(auto published, fleet.publish(1, Fleet::Save::no));
    WSYNC_TRY(auto synced, fleet.sync("tcp", 30s));
    for (auto& one : synced) {
        if (one.error) return *std::move(one.error);
        if (one.version != published.label) return Error{Code::internal, "a receiver did not get the first version", {}};
    }
    return fleet.audit("tcp");
}

Result<std::string> active(Fleet& fleet, unsigned index) {
    WSYNC_TRY(auto answer, fleet.receiver(index).ask({{"do", "active"}, {"method", "tcp"}}, 10s));
    return answer.value("version", std::string());
}

Result<FaultOutcome> flipped_byte(const FaultDemoOptions& options) {
    const auto blocks = blocks_of(options.source);
    FaultPolicy policy;
    policy.corrupt.at = {blocks + blocks / 2 + 1};  // in the middle of the second version
    WSYNC_TRY(auto fleet, start_fleet(options, policy, 1));
    WSYNC_TRY_VOID(serve_first(*fleet));
    WSYNC_TRY(auto before, active(*fleet, 1));
    WSYNC_TRY(auto published, fleet->publish(2, Fleet::Save::no));
    WSYNC_TRY(auto synced, fleet->sync("tcp", 30s));
    FaultOutcome outcome;
    outcome.what = "a byte flipped on the wire";
    if (!synced[1].error || synced[1].error->code != Code::corrupt) {
        outcome.silent = true;
        outcome.outcome = synced[1].error ? "receiver 2 failed for another reason: " + synced[1].error->to_string() : "receiver 2 took the wrong byte";
        return outcome;
    }
    WSYNC_TRY(auto still, active(*fleet, 1));
    WSYNC_TRY(auto again, fleet->sync("tcp", 5s));
    const bool healed = !again[1].error && again[1].version == published.label && fleet->audit("tcp");
    outcome.silent = still != before || !healed;
    outcome.outcome = fmt::format("refused by receiver 2 ({}), {} {}, {} {}", synced[1].error->message, before, still == before ? "still serving" : "LOST",
                                  published.label, healed ? "delivered on the next try" : "NOT DELIVERED");
    return outcome;
}

Result<FaultOutcome> killed_receiver(const FaultDemoOptions& options) {
    const auto blocks = blocks_of(options.source);
    FaultPolicy policy;
    policy.kill_at = blocks + blocks / 2 + 1;
    WSYNC_TRY(auto fleet, start_fleet(options, policy, 1));
    WSYNC_TRY_VOID(serve_first(*fleet));
    WSYNC_TRY(auto second, fleet->publish(2, Fleet::Save::no));
    WSYNC_TRY(auto synced, fleet->sync("tcp", 30s));
    FaultOutcome outcome;
    outcome.what = "receiver killed in mid transfer";
    const bool died = synced[1].error && synced[1].error->code == Code::peer_lost;
    const bool finished = !synced[0].error && synced[0].version == second.label;
    WSYNC_TRY(auto third, fleet->publish(3, Fleet::Save::no));
    WSYNC_TRY(auto fourth, fleet->publish(4, Fleet::Save::no));  // needs the slab that the dead receiver had held
    const double held_up = std::max(third.blocked_seconds, fourth.blocked_seconds);
    outcome.silent = !died || !finished;
    outcome.outcome = fmt::format("{}; {}; the trainer's next two writes waited {}", died ? "seen at once" : "NOT SEEN",
                                  finished ? "the other finished" : "THE OTHER DID NOT FINISH", show_seconds(held_up));
    return outcome;
}

Result<FaultOutcome> killed_trainer(const FaultDemoOptions& options) {
    WSYNC_TRY(auto fleet, start_fleet(options, {}, 1));
    WSYNC_TRY_VOID(serve_first(*fleet));
    WSYNC_TRY(auto second, fleet->publish(2, Fleet::Save::no));
    WSYNC_TRY(auto synced, fleet->sync("tcp", 30s));
    FaultOutcome outcome;
    outcome.what = "trainer killed in mid publication";
    auto dead = fleet->trainer().ask({{"do", "publish"}, {"step", 3}, {"die", "before_publish"}}, 30s);
    WSYNC_TRY(auto after, fleet->sync("tcp", 2s));
    bool serving = !dead.has_value() && dead.error().code == Code::peer_lost;
    for (unsigned i = 0; i < 2; ++i) {
        WSYNC_TRY(auto version, active(*fleet, i));
        serving = serving && version == second.label && after[i].error.has_value();
    }
    WSYNC_TRY_VOID(fleet->restart_trainer());
    WSYNC_TRY(auto next, fleet->publish(4, Fleet::Save::no));
    WSYNC_TRY(auto healed, fleet->sync("tcp", 30s));
    bool delivered = true;
    for (const auto& one : healed) delivered = delivered && !one.error && one.version == next.label;
    delivered = delivered && fleet->audit("tcp");
    outcome.silent = !serving || !delivered;
    outcome.outcome = fmt::format("version 3 {}; receivers {} {}; a new trainer's {} {}", serving ? "never became visible" : "BECAME VISIBLE",
                                  serving ? "serve" : "DO NOT SERVE", second.label, next.label, delivered ? "reached both" : "DID NOT REACH BOTH");
    return outcome;
}

}  // namespace

Result<std::vector<FaultOutcome>> run_fault_demo(const FaultDemoOptions& options) {
    using Fault = Result<FaultOutcome> (*)(const FaultDemoOptions&);
    static constexpr std::pair<Fault, std::string_view> kFaults[] = {
        {flipped_byte, "flipping a byte on the wire"}, {killed_receiver, "killing a receiver"}, {killed_trainer, "killing the trainer"}};
    std::vector<FaultOutcome> outcomes;
    for (const auto& [fault, what] : kFaults) {
        if (options.interrupted != nullptr && *options.interrupted) return Error{Code::cancelled, "the demo was interrupted", {}};
        if (options.progress) options.progress(static_cast<double>(outcomes.size()) / 3, what);
        const auto begin = Deadline::clock::now();
        WSYNC_TRY(auto outcome, fault(options).within(std::string(what)));
        outcome.seconds = std::chrono::duration<double>(Deadline::clock::now() - begin).count();
        outcomes.push_back(std::move(outcome));
    }
    return outcomes;
}

}  // namespace wsync
