#include "measure/bench.hpp"

#include "measure/interruption.hpp"
#include "store/directory_check.hpp"
#include "transport/file/file_transport.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <random>

namespace wsync {
namespace {

constexpr int kChoosingRounds = 3;

std::uint64_t probe_bytes(const BenchOptions& options) {
    return std::clamp<std::uint64_t>(options.source.manifest().bytes() / 4096 * 4096, 16 << 20, options.max_probe_bytes);
}

struct Probes {
    std::map<LimitKind, LimitProbe> probes;

    Status make(const BenchOptions& options, const std::string& directory) {
        LimitOptions limit;
        limit.bytes = probe_bytes(options);
        limit.directory = directory;
        WSYNC_TRY(auto buffers, LimitBuffers::make(limit.bytes));
        std::vector<LimitKind> kinds{LimitKind::copy_1, LimitKind::copy_2};
        const auto wants = [&](std::string_view method) { return std::find(options.methods.begin(), options.methods.end(), method) != options.methods.end(); };
        if (wants("tcp")) kinds.push_back(LimitKind::socket);
        if (wants("disk")) {
            kinds.push_back(LimitKind::write_recycled);
            kinds.push_back(LimitKind::write_fresh);
            kinds.push_back(LimitKind::read_cold);
            kinds.push_back(LimitKind::read_warm);
        }
        for (auto kind : kinds) {
            WSYNC_TRY(auto probe, LimitProbe::make(kind, limit, buffers).within(fmt::format("making the probe of {}", name_of(kind))));
            // One round on a noisy machine would choose the variant by luck.
            for (int i = 0; i < kChoosingRounds; ++i) {
                if (options.interrupted != nullptr && *options.interrupted) return Error{Code::cancelled, "the bench was interrupted", {}};
                WSYNC_TRY(auto rate, probe.run_once());
                (void)rate;
            }
            probe.keep_best();
            probes.emplace(kind, std::move(probe));
        }
        return {};
    }
    Result<double> run(LimitKind kind) { return probes.at(kind).run_once(); }
};

std::vector<LimitKind> limits_of(const std::string& method, unsigned copying_threads) {
    if (method == "shm_copy") return {copying_threads > 1 ? LimitKind::copy_2 : LimitKind::copy_1};
    if (method == "tcp") return {LimitKind::socket};
    if (method == "disk") return {LimitKind::write_recycled, LimitKind::read_cold};  // direct writes leave nothing in the page cache
    return {};
}

std::string name_of_limits(const std::vector<LimitKind>& kinds) {
    std::string text;
    for (auto kind : kinds) text += (text.empty() ? "" : "+") + std::string(name_of(kind));
    return text;
}

class Bench {
public:
    explicit Bench(const BenchOptions& options) : options_(options) {}

    Result<BenchResult> run() {
        FleetOptions fleet;
        fleet.source = options_.source;
        fleet.checkpoint = options_.checkpoint;
        fleet.receivers = options_.receivers;
        fleet.threads = options_.threads;
        fleet.methods = options_.methods;
        fleet.kernels = options_.kernels;
        if (fleet.kernels.empty()) {
            tell("choosing the copy that is best here");
            WSYNC_TRY(const auto* best, choose_kernels());
            fleet.kernels = best->name;
        }
        result_.kernels = fleet.kernels;
        fleet.huge_pages = options_.huge_pages;
        fleet.interrupted = options_.interrupted;
        if (wants("disk")) {
            fleet.disk_directory = options_.directory;
            // Before anything is drawn or measured: the versions (see Fleet::start), and the files of the probes.
            const auto& manifest = options_.source.manifest();
            WSYNC_TRY_VOID(check_room(options_.directory, 3 * version_bytes(manifest) + 4 * probe_bytes(options_),
                                      "the versions of the disk method and its probes' files"));
        }
        fleet.progress = [&](double, std::string_view what) { tell(what); };
        WSYNC_TRY(fleet_, Fleet::start(std::move(fleet)));
        // Forked children would share the probes' pages copy-on-write: the probes come after them.
        tell("measuring what this machine can do");
        WSYNC_TRY_VOID(probes_.make(options_, options_.directory));

        for (const auto& id : options_.methods) {
            MethodResult method;
            method.id = id;
            result_.methods.push_back(std::move(method));
        }
        for (int round = 0; round <= options_.runs; ++round) WSYNC_TRY_VOID(run_round(round));
        WSYNC_TRY_VOID(conclude());
        return std::move(result_);
    }

private:
    [[nodiscard]] bool wants(std::string_view method) const {
        return std::find(options_.methods.begin(), options_.methods.end(), method) != options_.methods.end();
    }
    void tell(std::string_view what) const {
        if (options_.progress) options_.progress(static_cast<double>(done_) / ((options_.runs + 1) * 3.0 + 1), what);
    }
    Status check_cancelled() const { return check_interrupted(options_.interrupted, "the bench"); }

    Status run_round(int round) {
        WSYNC_TRY_VOID(check_cancelled());
        const bool audit = options_.audit && (round == 0 || round == options_.runs);
        tell(fmt::format("round {} of {}: the trainer publishes", round, options_.runs));
        WSYNC_TRY(auto before, fleet_->trainer_memory());
        WSYNC_TRY(auto published, fleet_->publish(++step_, wants("disk") ? Fleet::Save::recycled : Fleet::Save::no));
        // Writing to disk is the publication's: what it took belongs to the disk method.
        for (auto& method : result_.methods)
            if (method.id == "disk") WSYNC_TRY_VOID(add_trainer_memory(method, before, round));
        if (round > 0) result_.publish_seconds.push_back(published.seconds);
        ++done_;

        std::map<LimitKind, double> limits;
        const auto probe_all = [&]() -> Status {
            for (auto& [kind, probe] : probes_.probes) {
                WSYNC_TRY_VOID(check_cancelled());
                WSYNC_TRY(limits[kind], probes_.run(kind));
            }
            return {};
        };
        // Probes and methods take turns at being first: on a machine whose speed drifts, neither gains.
        if (round % 2 == 0) WSYNC_TRY_VOID(probe_all());
        std::vector<std::size_t> order(options_.methods.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::shuffle(order.begin(), order.end(), random_);
        for (auto i : order) {
            WSYNC_TRY_VOID(check_cancelled());
            tell(fmt::format("round {} of {}: {}", round, options_.runs, options_.methods[i]));
            WSYNC_TRY(before, fleet_->trainer_memory());
            WSYNC_TRY(auto synced, fleet_->sync(options_.methods[i]));
            WSYNC_TRY_VOID(add_trainer_memory(result_.methods[i], before, round));
            WSYNC_TRY_VOID(take(result_.methods[i], synced, published, round));
            if (audit) WSYNC_TRY_VOID(fleet_->audit(options_.methods[i]));
        }
        if (wants("shm_map")) WSYNC_TRY_VOID(map_anew(round));
        if (wants("disk")) WSYNC_TRY_VOID(run_files(round));
        ++done_;
        if (round % 2 != 0) WSYNC_TRY_VOID(probe_all());
        ++done_;
        if (round == 0) return {};
        for (auto& method : result_.methods) {
            add_share(method, limits);
            for (auto& part : method.parts)
                if (!part.limit.empty()) part.shares.push_back(share_of(part, method.bytes, limits));
        }
        return {};
    }

    [[nodiscard]] PartResult& part(std::string_view method, std::string_view id, std::string_view limit) {
        auto& parts = result_method(method).parts;
        const auto known = std::find_if(parts.begin(), parts.end(), [&](const auto& p) { return p.id == id; });
        if (known != parts.end()) return *known;
        return parts.emplace_back(PartResult{std::string(id), std::string(limit), {}, {}, 0});
    }
    [[nodiscard]] std::uint64_t bytes_of(const PartResult& part, std::uint64_t bytes) const {
        return part.id.starts_with("read") ? bytes * options_.receivers : bytes;
    }
    [[nodiscard]] double share_of(const PartResult& part, std::uint64_t bytes, const std::map<LimitKind, double>& limits) const {
        return static_cast<double>(bytes_of(part, bytes)) / limits.at(*limit_kind_of(part.limit)) / part.seconds.back();
    }

    // A receiver that comes new maps the version, and touches it.
    Status map_anew(int round) {
        WSYNC_TRY(const auto anew, fleet_->map_anew());
        if (round == 0) return {};
        part("shm_map", "first", "").seconds.push_back(anew.hand_over_seconds);
        part("shm_map", "first_whole", "").seconds.push_back(anew.whole_seconds);
        auto& populate = part("shm_map", "populate", "");
        populate.seconds.push_back(anew.populate_seconds);
        populate_bytes_ = anew.bytes;
        return {};
    }

    // The disk method's rounds write over old files and read what is not cached. Here: new files, and then cached ones.
    Status run_files(int round) {
        const auto& disk = stages_["disk"];
        WSYNC_TRY(const auto published, fleet_->publish(++step_, Fleet::Save::new_files));
        WSYNC_TRY_VOID(fleet_->warm_files());
        WSYNC_TRY(auto warm, fleet_->sync("disk"));
        WSYNC_TRY_VOID(check(warm, published, "disk"));
        if (wants("shm_map")) {
            // They serve in place: the next version needs their slab.
            WSYNC_TRY(auto moved_on, fleet_->sync("shm_map"));
            WSYNC_TRY_VOID(check(moved_on, published, "shm_map"));
        }
        double written = 0, read = 0;
        for (const auto& one : warm) {
            written = one.stages[Stage::expose];
            read = std::max(read, one.stages.hand_over());
        }
        if (round == 0) return {};
        part("disk", "write_recycled", "W2").seconds.push_back(disk.back()[Stage::expose]);
        part("disk", "write_new", "W").seconds.push_back(written);
        part("disk", "read_cold", "R").seconds.push_back(result_method("disk").steady_hand_over.back());
        part("disk", "read_warm", "P").seconds.push_back(read);
        return {};
    }
    [[nodiscard]] MethodResult& result_method(std::string_view id) {
        return *std::find_if(result_.methods.begin(), result_.methods.end(), [&](const auto& m) { return m.id == id; });
    }

    Status add_trainer_memory(MethodResult& method, const ProcessMemory& before, int round) {
        WSYNC_TRY(const auto after, fleet_->trainer_memory());
        method.trainer_extra = std::max(method.trainer_extra, after.extra_bytes);
        // The first round makes what is kept: buffers, tables.
        if (round > 0 && after.rss_anon > before.rss_anon) method.trainer_rss_growth = std::max(method.trainer_rss_growth, after.rss_anon - before.rss_anon);
        return {};
    }

    static Status check(std::vector<Synced>& synced, const Published& published, std::string_view method) {
        for (std::size_t i = 0; i < synced.size(); ++i) {
            if (synced[i].error) return std::move(*synced[i].error).within(fmt::format("receiver {} synced by {}", i + 1, method));
            if (synced[i].version != published.label) {
                return Error{Code::internal, fmt::format("receiver {} activated {} instead of {}", i + 1, synced[i].version, published.label), {}};
            }
        }
        return {};
    }

    Status take(MethodResult& method, std::vector<Synced>& synced, const Published& published, int round) {
        WSYNC_TRY_VOID(check(synced, published, method.id));
        const Synced* slowest = nullptr;
        for (std::size_t i = 0; i < synced.size(); ++i) {
            if (slowest == nullptr || synced[i].stages.hand_over() > slowest->stages.hand_over()) slowest = &synced[i];
            method.receiver_extra = std::max(method.receiver_extra, synced[i].peak_extra_bytes);
            if (round > 0) method.receiver_rss_growth = std::max(method.receiver_rss_growth, synced[i].rss_growth_bytes);
        }
        method.transport = slowest->transport;
        method.bytes = slowest->bytes_needed;
        if (round == 0) {
            method.first = slowest->stages;
            if (method.id == "shm_map") method.bytes_moved = slowest->bytes_moved;
            return {};
        }
        method.verified = slowest->verification;
        if (method.id != "shm_map") method.bytes_moved = slowest->bytes_moved * (method.id == "disk" ? 2 : 1);
        method.steady_total.push_back(slowest->stages.total());
        method.steady_hand_over.push_back(slowest->stages.hand_over());
        stages_[method.id].push_back(slowest->stages);
        return {};
    }

    void add_share(MethodResult& method, const std::map<LimitKind, double>& limits) {
        const auto kinds = limits_of(method.id, options_.receivers * options_.threads);
        if (kinds.empty()) return;
        method.limit = name_of_limits(kinds);
        const auto& stages = stages_[method.id].back();
        const double bytes = static_cast<double>(method.bytes) * options_.receivers;
        double ideal = 0, real = method.steady_hand_over.back();
        if (method.id == "disk") {
            ideal = static_cast<double>(method.bytes) / limits.at(kinds[0]) + bytes / limits.at(kinds[1]);
            real += stages[Stage::expose];
        } else {
            ideal = bytes / limits.at(kinds[0]);
        }
        method.shares.push_back(ideal / real);
    }

    Status conclude() {
        for (auto& method : result_.methods) {
            auto& rounds = stages_[method.id];
            for (int i = 0; i < kStageCount; ++i) {
                std::vector<double> values;
                for (const auto& stages : rounds) values.push_back(stages[static_cast<Stage>(i)]);
                method.steady[static_cast<Stage>(i)] = median_of(std::move(values));
            }
            method.seconds = spread_of(method.steady_total);
            method.hand_over = spread_of(method.steady_hand_over);
            const double time = method.hand_over.median + (method.id == "disk" ? method.steady[Stage::expose] : 0);
            if (method.id != "shm_map" && time > 0) {
                method.bytes_per_second = static_cast<double>(method.bytes) * (method.id == "disk" ? 1 + options_.receivers : options_.receivers) / time;
            }
            if (!method.shares.empty()) method.share_of_limit = median_of(method.shares);
            for (auto& part : method.parts) {
                const auto bytes = part.id == "populate" ? populate_bytes_ : part.limit.empty() ? 0 : bytes_of(part, method.bytes);
                part.bytes_per_second = static_cast<double>(bytes) / median_of(part.seconds);
            }
        }
        for (const auto& [kind, probe] : probes_.probes) {
            WSYNC_TRY(auto limit, probe.limit());
            result_.limits.push_back(std::move(limit));
        }
        WSYNC_TRY(auto trainer, fleet_->trainer_memory());
        WSYNC_TRY(auto receiver, fleet_->receiver_memory(0));
        result_.trainer_slab_bytes = trainer.slab_bytes;
        result_.receiver_slab_bytes = receiver.slab_bytes;
        result_.trainer_page_table_bytes = trainer.page_tables;
        result_.model = options_.model;
        result_.machine = describe_machine();
        result_.bytes = options_.source.manifest().bytes();
        result_.tensors = options_.source.manifest().size();
        result_.trainers = options_.source.ranks();
        result_.receivers = options_.receivers;
        result_.threads = options_.threads;
        if (wants("disk")) {
            WSYNC_TRY(auto engine, describe_file_engine(options_.directory));
            result_.disk_engine = engine.name();
            result_.disk_filesystem = engine.filesystem;
            result_.disk_device = engine.device;
        }
        return {};
    }

    const BenchOptions& options_;
    std::unique_ptr<Fleet> fleet_;
    Probes probes_;
    BenchResult result_;
    std::map<std::string, std::vector<StageSeconds>> stages_;
    std::mt19937 random_{17};
    std::uint64_t step_ = 0, populate_bytes_ = 0;
    int done_ = 0;
};

}  // namespace

Spread spread_of(std::vector<double> values) {
    if (values.empty()) return {};
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return {*low, median_of(values), *high};
}

Result<BenchResult> run_bench(const BenchOptions& options) {
    for (const auto& method : options.methods) {
        if (std::find(std::begin(kMethods), std::end(kMethods), method) == std::end(kMethods)) {
            return Error{Code::invalid_argument, fmt::format("no method {}; there are shm_map, shm_copy, tcp, disk", method), {}};
        }
    }
    const auto maps = std::find(options.methods.begin(), options.methods.end(), "shm_map") != options.methods.end();
    if (maps && options.source.ranks() > 1) {
        return Error{Code::invalid_argument, "shm_map needs one trainer: cut over several, no tensor lies whole in one slab; take shm_copy, tcp or disk", {}};
    }
    if (options.methods.empty() || options.runs < 1 || options.receivers < 1 || options.threads < 1) {
        return Error{Code::invalid_argument, "a bench needs a method, a run, a receiver and a thread at least", {}};
    }
    return Bench(options).run();
}

}  // namespace wsync
