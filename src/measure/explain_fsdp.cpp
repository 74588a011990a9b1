// The coordinator: asks ranks and engine, carries the handles, and keeps the times.
#include "measure/explain_fsdp.hpp"

#include "measure/explain_fsdp_process.hpp"
#include "measure/interruption.hpp"
#include "measure/scratch_folder.hpp"
#include "memory/memory_limit.hpp"
#include "wsync/model/mesh.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;

constexpr Deadline::clock::duration kAnswer = 5min;
constexpr int kShortWriteMilliseconds = 50;

double seconds_between(std::int64_t begin, std::int64_t end) { return static_cast<double>(end - begin) * 1e-9; }

HeldMemory to_held(const Json& answer) {
    return {answer.value("ledger", std::uint64_t{0}), answer.value("rss_anon", std::uint64_t{0}), answer.value("rss_shmem", std::uint64_t{0})};
}

std::int64_t at(const Json& answer, const char* key) { return answer.value(key, std::int64_t{0}); }

class FsdpRun {
public:
    explicit FsdpRun(const ExplainFsdpOptions& options) : options_(options) {}

    Result<FsdpExplanation> run() {
        WSYNC_TRY_VOID(describe());
        WSYNC_TRY(const auto scratch, ScratchFolder::make("fsdp"));
        place_.control = scratch.control();
        place_.sockets = scratch.sockets();
        auto status = run_in();
        // The engine first: it lets go of what the ranks wait for.
        engine_.reset();
        ranks_.clear();
        if (!status) return std::move(status).error();
        return std::move(found_);
    }

private:
    void tell(double fraction, std::string_view what) const {
        if (options_.progress) options_.progress(fraction, what);
    }
    Status check_cancelled() const { return check_interrupted(options_.interrupted, "the explanation"); }
    [[nodiscard]] std::uint32_t count() const { return options_.ranks; }

    Status describe() {
        const auto& manifest = options_.manifest;
        if (manifest.bytes() == 0) return Error{Code::invalid_argument, "a model without weights has nothing to gather", {}};
        const auto need = (count() + 3) * manifest.bytes() + (count() + 2) * (std::uint64_t{32} << 20);
        WSYNC_TRY_VOID(check_memory(need, fmt::format("the shards, {} gathered models and the engine's", count())).within("choosing a smaller model or fewer ranks helps: --model 0.05GB --ranks 2"));
        MeshOptions mesh;
        mesh.fully_sharded = count();
        WSYNC_TRY(place_.layout, options_.whole_tensors ? make_round_robin_layout(manifest, count()) : make_mesh_layout(manifest, mesh));
        WSYNC_TRY(place_.whole, Layout::replicated(manifest, 1));
        WSYNC_TRY(place_.packed, pack(place_.whole, 0));
        for (std::uint32_t rank = 0; rank < count(); ++rank) {
            if (place_.layout.bytes_of(rank) > 0) continue;
            return Error{Code::invalid_argument, fmt::format("rank {} of {} would hold nothing: the model has {} tensors; take fewer ranks", rank, count(), manifest.size()), {}};
        }
        found_.machine = describe_machine();
        found_.model = options_.model;
        found_.layout = options_.whole_tensors ? "drawn" : "fsdp";
        found_.transport = options_.transport;
        found_.bytes = manifest.bytes();
        found_.tensors = manifest.size();
        found_.late_rank = count() - 1;
        found_.late_seconds = options_.late_seconds;
        found_.hold_seconds = options_.hold_seconds;
        found_.engine_bytes = place_.packed.bytes();
        found_.ranks.resize(count());
        return {};
    }

    Status start() {
        tell(0, fmt::format("{} ranks and an engine", count()));
        for (std::uint32_t rank = 0; rank < count(); ++rank) {
            WSYNC_TRY(auto child, Child::spawn(fmt::format("rank {}", rank), [&](Conversation& parent) { return run_fsdp_rank(parent, options_, place_, rank); }));
            ranks_.push_back(std::move(child));
        }
        WSYNC_TRY(auto engine, Child::spawn("the engine", [&](Conversation& parent) { return run_fsdp_engine(parent, options_, place_); }));
        engine_.emplace(std::move(engine));
        engine_->give_up_when(options_.interrupted);
        for (auto& rank : ranks_) rank.give_up_when(options_.interrupted);
        for (auto& rank : ranks_) WSYNC_TRY_VOID(ready(rank));
        return ready(*engine_);
    }
    static Status ready(Child& child) {
        WSYNC_TRY(auto message, child.receive(kAnswer));
        (void)message;
        return {};
    }

    Status run_in() {
        WSYNC_TRY_VOID(start());
        tell(0.1, "every rank trains its shards and gathers whole tensors; one is late");
        WSYNC_TRY(const auto first, step(1, true, options_.late_seconds));
        WSYNC_TRY_VOID(take_first(first));
        WSYNC_TRY_VOID(load(1, found_.gathered.first_seconds));
        WSYNC_TRY_VOID(hold_on());
        tell(0.5, "the flow again, nothing in its way");
        WSYNC_TRY(const auto steady, step(3, true, 0));
        for (std::uint32_t rank = 0; rank < count(); ++rank) found_.ranks[rank].gather_seconds = gather_seconds(steady, rank);
        WSYNC_TRY_VOID(load(3, found_.gathered.seconds));
        WSYNC_TRY_VOID(release(0));
        tell(0.7, "the same without a gather");
        WSYNC_TRY_VOID(drop_gathered());
        WSYNC_TRY_VOID(sync_shards(4, options_.late_seconds, found_.direct.first_seconds));
        WSYNC_TRY_VOID(sync_shards(5, 0, found_.direct.seconds));
        found_.verified = true;
        return {};
    }

    // All ranks at once.
    Result<std::vector<Json>> step(std::uint64_t number, bool gather, double late_seconds) {
        WSYNC_TRY_VOID(send_step(number, gather, late_seconds));
        return receive_step();
    }
    Status send_step(std::uint64_t number, bool gather, double late_seconds) {
        WSYNC_TRY_VOID(check_cancelled());
        for (std::uint32_t rank = 0; rank < count(); ++rank) {
            const int late_ms = rank == found_.late_rank ? static_cast<int>(late_seconds * 1000) : 0;
            WSYNC_TRY_VOID(ranks_[rank].send({{"do", "step"}, {"step", number}, {"gather", gather}, {"late_ms", late_ms}}));
        }
        return {};
    }
    Result<std::vector<Json>> receive_step() {
        std::vector<Json> answers;
        for (auto& rank : ranks_) {
            WSYNC_TRY(auto answer, rank.receive(kAnswer));
            answers.push_back(std::move(answer));
        }
        shards_there_ = 0;
        for (const auto& answer : answers) shards_there_ = std::max(shards_there_, at(answer, "published_at"));
        return answers;
    }

    [[nodiscard]] double gather_seconds(const std::vector<Json>& answers, std::uint32_t rank) const {
        return seconds_between(std::max(shards_there_, at(answers[rank], "asked_at")), at(answers[rank], "gathered_at"));
    }

    Status take_first(const std::vector<Json>& answers) {
        std::int64_t first_handle = at(answers[0], "handle_at"), last_handle = first_handle;
        handles_ = Json::array();
        for (std::uint32_t rank = 0; rank < count(); ++rank) {
            const auto& answer = answers[rank];
            auto& row = found_.ranks[rank];
            row.pid = answer.value("pid", std::int64_t{0});
            row.shards = place_.layout.shards_of(rank).size();
            row.shard_bytes = place_.layout.bytes_of(rank);
            row.bytes_from_others = answer.value("bytes_from_others", std::uint64_t{0});
            row.allocate_seconds = answer.value("allocate_seconds", 0.0);
            row.first_gather_seconds = gather_seconds(answers, rank);
            row.waited_seconds = seconds_between(at(answer, "published_at"), shards_there_);
            row.verification = answer.value("verification", "");
            row.before = to_held(answer.at("before"));
            row.peak = to_held(answer.at("peak"));
            row.handle_bytes = answer.at("handle").size();
            found_.handle_bytes += row.handle_bytes;
            found_.gathered.bytes_moved += row.bytes_from_others;
            found_.gathered.extra_bytes += row.peak.ledger - std::min(row.peak.ledger, row.before.ledger);
            handles_.push_back(answer.at("handle"));
            first_handle = std::min(first_handle, at(answer, "handle_at"));
            if (at(answer, "handle_at") >= last_handle) {
                last_handle = at(answer, "handle_at");
                found_.last_handle = rank;
            }
        }
        found_.handles = handles_.size();
        found_.collect_seconds = seconds_between(first_handle, last_handle);
        found_.gathered.verification = found_.ranks.front().verification + ", then identity";
        return {};
    }

    // The engine opens the handles and loads; then everything is read and compared, outside the time.
    Status load(std::uint64_t number, double& seconds) {
        WSYNC_TRY_VOID(check_cancelled());
        tell(0.3, "the engine opens the handles and loads");
        WSYNC_TRY(const auto loaded, engine_->ask({{"do", "load"}, {"step", number}, {"handles", handles_}}, kAnswer));
        seconds = seconds_between(shards_there_, at(loaded, "loaded_at"));
        if (number == 1) {
            found_.open_seconds = spread_of(loaded.value("open_seconds", std::vector<double>{}));
            found_.gathered.bytes_moved += found_.bytes;  // the engine's copy
        }
        found_.load_seconds = loaded.value("load_seconds", 0.0);
        return audit(true);
    }

    // The engine keeps its holds while every rank wants to gather the next step into the same tensors.
    Status hold_on() {
        tell(0.4, "a hold kept, and the write that waits for it");
        WSYNC_TRY(const auto refused, ranks_.front().ask({{"do", "try_write"}, {"deadline_ms", kShortWriteMilliseconds}}, kAnswer));
        found_.refused_write = refused.value("message", "");
        WSYNC_TRY_VOID(send_step(2, true, 0));
        WSYNC_TRY_VOID(release(options_.hold_seconds));
        WSYNC_TRY(const auto answers, receive_step());
        for (std::uint32_t rank = 0; rank < count(); ++rank) found_.ranks[rank].hold_wait_seconds = answers[rank].value("hold_wait_seconds", 0.0);
        return {};
    }

    Status release(double after_seconds) {
        WSYNC_TRY(auto released, engine_->ask({{"do", "release"}, {"after_ms", static_cast<int>(after_seconds * 1000)}}, kAnswer));
        (void)released;
        return {};
    }

    Status drop_gathered() {
        WSYNC_TRY(auto dropped, engine_->ask({{"do", "drop"}}, kAnswer));
        (void)dropped;
        for (auto& rank : ranks_) {
            WSYNC_TRY(auto freed, rank.ask({{"do", "free"}}, kAnswer));
            (void)freed;
        }
        return {};
    }

    Status sync_shards(std::uint64_t number, double late_seconds, double& seconds) {
        WSYNC_TRY(const auto answers, step(number, false, late_seconds));
        // The first asking ends with the step's peak, the second begins with what is held.
        std::vector<HeldMemory> before(count());
        for (const int asking : {1, 2}) {
            (void)asking;
            for (std::uint32_t rank = 0; rank < count(); ++rank) {
                WSYNC_TRY(const auto memory, ranks_[rank].ask({{"do", "memory"}}, kAnswer));
                before[rank] = to_held(memory);
            }
        }
        const auto asked = host_time();
        WSYNC_TRY(const auto loaded, engine_->ask({{"do", "direct"}}, kAnswer));
        seconds = seconds_between(asked, at(loaded, "loaded_at"));
        found_.direct.bytes_moved = loaded.value("bytes_moved", std::uint64_t{0});
        if (found_.direct.verification.empty()) found_.direct.verification = loaded.value("verification", "");
        for (std::uint32_t rank = 0; rank < count(); ++rank) {
            WSYNC_TRY(const auto memory, ranks_[rank].ask({{"do", "memory"}}, kAnswer));
            const auto after = to_held(memory);
            auto& row = found_.ranks[rank];
            row.extra_without_gather = std::max(row.extra_without_gather, after.ledger - std::min(after.ledger, before[rank].ledger));
            row.waited_without_gather_seconds = std::max(row.waited_without_gather_seconds, answers[rank].value("waited_seconds", 0.0));
        }
        found_.direct.extra_bytes = 0;
        for (const auto& row : found_.ranks) found_.direct.extra_bytes += row.extra_without_gather;
        return audit(false);
    }

    // Digests that each owner takes of its own shards, beside those of everybody who has them now.
    Status audit(bool handles) {
        WSYNC_TRY(const auto held, engine_->ask({{"do", "audit"}}, kAnswer));
        for (std::uint32_t rank = 0; rank < count(); ++rank) {
            WSYNC_TRY(const auto owner, ranks_[rank].ask({{"do", "audit"}}, kAnswer));
            const auto wanted = owner.value("digest", "");
            if (held.at("own").at(rank) != wanted) return Error{Code::corrupt, fmt::format("the engine's copy of rank {}'s shards differs from what the rank holds", rank), {}};
            if (!handles) continue;
            if (held.at("handles").size() != count()) return Error{Code::internal, "a handle was not opened", {}};
            for (std::uint32_t other = 0; other < count(); ++other) {
                if (held.at("handles").at(other).at(rank) != wanted)
                    return Error{Code::corrupt, fmt::format("what rank {} gathered differs from what rank {} holds", other, rank), {}};
            }
        }
        return {};
    }

    const ExplainFsdpOptions& options_;
    FsdpPlace place_;
    FsdpExplanation found_;
    std::vector<Child> ranks_;
    std::optional<Child> engine_;
    Json handles_;
    std::int64_t shards_there_ = 0;  // when the last rank's shards of this step were published
};

}  // namespace

Result<FsdpExplanation> explain_fsdp(const ExplainFsdpOptions& options) {
    if (options.ranks < 1 || options.ranks > 64) return Error{Code::invalid_argument, fmt::format("{} ranks; there may be 1 to 64", options.ranks), {}};
    if (options.transport != "shm" && options.transport != "tcp") return Error{Code::invalid_argument, fmt::format("no transport {}; there are shm, tcp", options.transport), {}};
    return FsdpRun(options).run();
}

}  // namespace wsync
