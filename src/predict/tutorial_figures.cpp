#include "predict/tutorial_figures.hpp"

#include "predict/figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace wsync {

namespace {

constexpr unsigned kRanks = 8;  // of the trainer in the example of verl's flow
constexpr double kHandleBytes = 100;
constexpr double kNvlinkRate = 450;

// As the tutorial prints them for 140 GB.
struct Said {
    const char* id;
    const char* seconds;
    const char* verdict;
};
constexpr Said kSaid[] = {
    {"disk_ssd", "20.10 s", "Acceptable"}, {"disk_hdd", "11.7 min", "Slow"},          {"nccl_nvlink", "0.32 s", "Excellent"},
    {"nccl_ib", "2.85 s", "Good"},         {"nccl_ethernet", "11.30 s", "Acceptable"}, {"cuda_ipc", "1.0 ms", "Zero copy!"},
};

std::string said(std::string_view id, bool with_verdict) {
    for (const auto& row : kSaid) {
        if (row.id == id) return with_verdict ? fmt::format("{}  {}", row.seconds, row.verdict) : std::string(row.seconds);
    }
    return "-";
}

std::string said_stage(std::string_view id, std::string_view stage) {
    static const std::map<std::string, std::string, std::less<>> kStages = {
        {"disk.write", "28.0 s"},          {"disk.read", "28.0 s"},           {"disk.total", "56.0 s"},
        {"nccl.gather", "2.1 s"},          {"nccl.transfer", "5.6 s"},        {"nccl.broadcast", "2.1 s"},
        {"nccl.total", "9.8 s  17.5 %"},   {"cuda_ipc.get_handle", "0.001 s"}, {"cuda_ipc.serialize", "0.001 s"},
        {"cuda_ipc.reconstruct", "0.001 s"}, {"cuda_ipc.total", "0.003 s  0.005 %"},
    };
    const auto found = kStages.find(fmt::format("{}.{}", id, stage));
    return found == kStages.end() ? "-" : found->second;
}

std::vector<StandIn> stand_ins_without_gpu() {
    return {
        {"disk_ssd", "disk", "the same mechanism on this machine's own disk: written, committed, read back"},
        {"disk_hdd", "", "wsync bench measures one disk; point its --dir at a network file system to measure that one"},
        {"nccl_nvlink", "shm_copy", "no GPU, no NVLink: one process copies what another one holds in host memory"},
        {"nccl_ib", "tcp", "no InfiniBand NIC: sockets over loopback, so the memory and the processor are the limit"},
        {"nccl_ethernet", "tcp", "no second host and NIC: sockets over loopback"},
        {"cuda_ipc", "shm_map", "no GPU: a memfd handle takes the part of the CUDA IPC handle; the same pages, mapped by another process"},
    };
}

}  // namespace

Result<TutorialFigures> TutorialFigures::make(const ModelSize& model, const MeasuredFigures* measured) {
    TutorialFigures figures;
    figures.model_ = model;
    figures.measured_ = measured;
    figures.stand_ins_ = stand_ins_without_gpu();
    if (measured == nullptr) return figures;
    // A bench that ran the tutorial's own method needs no stand-in for it.
    for (auto& stand_in : figures.stand_ins_) {
        if (measured->find(stand_in.method) != nullptr) stand_in = {stand_in.method, stand_in.method, "measured itself"};
    }
    WSYNC_TRY(const Profile profile, measured_profile(*measured));
    WSYNC_TRY(const Comparison comparison, compare(profile, model, {{Architecture::co_located}, {}}));
    figures.here_ = comparison.placements.front().methods;
    return figures;
}

const MethodPrediction* TutorialFigures::measured_method(std::string_view bench_id) const {
    for (const auto& prediction : here_) {
        if (prediction.method.id == bench_id) return &prediction;
    }
    return nullptr;
}

const StandIn& TutorialFigures::stand_in_of(std::string_view tutorial_id) const {
    static const StandIn kNone;
    for (const auto& stand_in : stand_ins_) {
        if (stand_in.method == tutorial_id) return stand_in;
    }
    return kNone;
}

std::string TutorialFigures::unmeasured(bool measurable) const { return measurable && measured_ == nullptr ? "run wsync bench --json" : "-"; }

void TutorialFigures::measure(TutorialFigure& figure, std::string_view tutorial_id) const {
    const StandIn& stand_in = stand_in_of(tutorial_id);
    if (const auto* here = measured_method(stand_in.measured)) {
        figure.measured = fmt::format("{}  ({})", fine_duration_text(here->seconds), here->method.name);
        figure.measured_seconds = here->seconds;
    } else {
        figure.measured = unmeasured(!stand_in.measured.empty());
    }
}

std::vector<TutorialFigure> TutorialFigures::stand_in_figures() const {
    const Profile profile = tutorial_profile();
    std::vector<TutorialFigure> rows;
    for (const auto& stand_in : stand_ins_) {
        TutorialFigure row;
        for (const auto& method : profile.methods) {
            if (method.id != stand_in.method) continue;
            row.label = method.name;
            row.says = method.gigabytes_per_second ? fmt::format("{:.4g} GB/s + {:.4g} ms", *method.gigabytes_per_second, method.setup_ms)
                                                   : fmt::format("no transfer + {:.4g} ms", method.setup_ms);
        }
        row.formula = row.says;
        const auto* here = measured_method(stand_in.measured);
        if (here == nullptr) {
            row.measured = unmeasured(!stand_in.measured.empty());
        } else if (here->method.gigabytes_per_second) {
            row.measured = fmt::format("{:.3g} GB/s  ({})", *here->method.gigabytes_per_second, here->method.name);
        } else {
            row.measured = fmt::format("no transfer, {}  ({})", fine_duration_text(here->seconds), here->method.name);
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

std::vector<std::string> TutorialFigures::measured_notes() const {
    std::vector<std::string> notes;
    const Profile profile = tutorial_profile();
    for (const auto& stand_in : stand_ins_) {
        std::string name = stand_in.method;
        for (const auto& method : profile.methods) {
            if (method.id == stand_in.method) name = method.name;
        }
        notes.push_back(stand_in.measured.empty() ? fmt::format("{}: {}", name, stand_in.why)
                                                  : fmt::format("{}: {} stands in: {}", name, stand_in.measured, stand_in.why));
    }
    if (measured_ == nullptr) {
        notes.emplace_back("nothing was measured yet: wsync bench --json > wsync-bench.json, then wsync tutorial again");
        return notes;
    }
    for (const auto& here : here_) notes.push_back(fmt::format("{}: {} ({})", here.method.id, here.method.description, measured_->source));
    notes.emplace_back("what moves bytes is scaled to this size by its measured rate, from the version's record seen to active");
    return notes;
}

TutorialFigure TutorialFigures::method_figure(std::string_view id) const {
    TutorialFigure figure;
    figure.label = id;
    figure.says = said(id, true);
    for (const auto& method : tutorial_profile().methods) {
        if (method.id == id) figure.formula_seconds = method.seconds(model_.gigabytes);
    }
    if (figure.formula_seconds) figure.formula = duration_text(*figure.formula_seconds);
    measure(figure, id);
    return figure;
}

TutorialFigure TutorialFigures::hop_figure(const MethodPrediction& prediction, std::size_t hop) const {
    const PredictedHop& step = prediction.path[hop];
    TutorialFigure figure;
    figure.label = fmt::format("{}: {} → {}", prediction.method.id, step.from, step.to);
    figure.formula_seconds = step.seconds;
    figure.says = step.seconds > 0 ? said(prediction.method.id, false) : "not counted";
    figure.formula = fmt::format("{}, {}", bytes_text(static_cast<double>(step.bytes)), step.seconds > 0 ? duration_text(step.seconds) : "not counted");
    const StandIn& stand_in = stand_in_of(prediction.method.id);
    const auto* here = measured_method(stand_in.measured);
    // The tutorial's path begins and ends in GPU memory; through a disk that is one hop more at each end than here.
    const std::size_t skipped = prediction.path.size() == 4 ? 1 : 0;
    if (here == nullptr) {
        figure.measured = unmeasured(!stand_in.measured.empty());
    } else if (hop < skipped || hop - skipped >= here->path.size()) {
        figure.measured = "no GPU here";
    } else {
        const PredictedHop& real = here->path[hop - skipped];
        figure.measured_seconds = real.seconds;
        figure.measured = fmt::format("{}, {}  ({})", bytes_text(static_cast<double>(real.bytes)),
                                      real.seconds > 0 ? fine_duration_text(real.seconds) : std::string("in the hop before"), here->method.name);
    }
    return figure;
}

std::vector<TutorialFigure> TutorialFigures::stage_figures(const MethodPrediction& prediction) const {
    std::vector<TutorialFigure> rows;
    const std::string& id = prediction.method.id;
    const auto* here = id == "disk" ? measured_method("disk") : nullptr;
    for (const auto& [name, seconds] : prediction.stages) {
        TutorialFigure row{fmt::format("{}: {}", id, name), said_stage(id, name), stage_text(seconds), seconds, unmeasured(id == "disk"), {}};
        for (std::size_t hop = 0; here != nullptr && hop < here->path.size(); ++hop) {
            if (hop != (name == "write" ? 0u : 1u)) continue;
            row.measured_seconds = here->path[hop].seconds;
            row.measured = fmt::format("{}  ({})", fine_duration_text(here->path[hop].seconds), here->method.name);
        }
        measure_stage(row, id, name);
        rows.push_back(std::move(row));
    }
    TutorialFigure total{id + ": total", said_stage(id, "total"), stage_text(prediction.seconds), prediction.seconds, "", {}};
    if (id != "disk" && prediction.percent_of_disk) total.formula += fmt::format("  {}", percent_text(*prediction.percent_of_disk));
    measure(total, id == "disk" ? "disk_ssd" : id == "nccl" ? "nccl_ib" : id);
    rows.push_back(std::move(total));
    return rows;
}

std::vector<TutorialFigure> TutorialFigures::handle_figures() const {
    const std::string size = bytes_text(static_cast<double>(model_.bytes));
    const auto* handle = measured_ != nullptr ? measured_->find("shm_map") : nullptr;
    const auto* opened = measured_method("shm_map");
    const auto* copied = measured_method("shm_copy");
    const double traditional = model_.gigabytes / kNvlinkRate;
    std::vector<TutorialFigure> rows;
    rows.push_back({"bytes of a handle", "~100 bytes", "~100 bytes, any size", {}, unmeasured(true), {}});
    if (handle != nullptr && handle->bytes_moved.value_or(0) > 0) rows.back().measured = fmt::format("{} B  (memfd handle)", *handle->bytes_moved);
    const auto* live = measured_ != nullptr && measured_->handle ? &*measured_->handle : nullptr;
    if (live != nullptr) rows.back().measured = fmt::format("{} B  (memfd handle)", live->bytes);
    rows.push_back({"time to open it", "~1 ms", "1.0 ms, any size", 0.001, unmeasured(true), {}});
    if (opened != nullptr) {
        rows.back().measured = fmt::format("{}  (record seen to active)", fine_duration_text(opened->seconds));
        rows.back().measured_seconds = opened->seconds;
    }
    if (live != nullptr) {
        rows.back().measured = fmt::format("{}  (attach and map)", fine_duration_text(live->open_seconds));
        rows.back().measured_seconds = live->open_seconds;
    }
    rows.push_back({"bytes moved", "0 of 140 GB", fmt::format("0 of {}", size), {}, unmeasured(true), {}});
    if (opened != nullptr) rows.back().measured = fmt::format("0 of {}  (same pages)", bytes_text(static_cast<double>(handle != nullptr ? handle->bytes : 0)));
    if (live != nullptr) rows.back().measured = fmt::format("{} of {}  (same pages)", live->moved_bytes, bytes_text(static_cast<double>(live->opens_bytes)));
    rows.push_back({"the traditional copy", "140 GB / 450 GB/s = 311 ms",
                    fmt::format("{} / 450 GB/s = {}", size, traditional < 1 ? fmt::format("{:.3g} ms", traditional * 1000) : duration_text(traditional)),
                    traditional, unmeasured(true), {}});
    if (copied != nullptr) {
        rows.back().measured = fmt::format("{}  ({})", fine_duration_text(copied->seconds), copied->method.name);
        rows.back().measured_seconds = copied->seconds;
    }
    return rows;
}

std::vector<TutorialFigure> TutorialFigures::gather_figures() const {
    const double bytes = static_cast<double>(model_.bytes);
    const double received = bytes * (kRanks - 1) / kRanks;
    const double seconds = received / 1e9 / kNvlinkRate;
    std::vector<TutorialFigure> rows;
    rows.push_back({fmt::format("all-gather, into each of {} ranks", kRanks), "not counted",
                    fmt::format("{}, {} at 450 GB/s", bytes_text(received), duration_text(seconds)), seconds, "-", {}});
    rows.push_back({"whole tensors beside the shard", "a memory spike", fmt::format("{} beside {}", bytes_text(bytes), bytes_text(bytes / kRanks)), {}, "-", {}});
    rows.push_back({"handles at the coordinator", "~100 bytes each", fmt::format("{} x ~100 B = {}", kRanks, bytes_text(kRanks * kHandleBytes)), {}, "-", {}});
    if (const auto* handle = measured_ != nullptr ? measured_->find("shm_map") : nullptr; handle != nullptr && handle->bytes_moved.value_or(0) > 0)
        rows.back().measured = fmt::format("{} B each  (memfd handle)", *handle->bytes_moved);
    if (measured_ != nullptr && measured_->gather) measure_gather(rows, *measured_->gather);
    return rows;
}

void TutorialFigures::measure_stage(TutorialFigure& row, std::string_view id, std::string_view stage) const {
    if (measured_ == nullptr) return;
    if (id == "nccl" && stage == "gather" && measured_->gather) {
        row.measured_seconds = gather_seconds(*measured_->gather, 1.0);
        if (row.measured_seconds) row.measured = fmt::format("{}  ({} ranks, rate of one)", fine_duration_text(*row.measured_seconds), measured_->gather->ranks);
    } else if (id == "nccl" && stage == "broadcast" && measured_->gather) {
        row.measured = "none: each receiver reads its own part";
    } else if (id == "cuda_ipc" && stage == "reconstruct" && measured_->handle) {
        row.measured_seconds = measured_->handle->open_seconds;
        row.measured = fmt::format("{}  (attach and map)", fine_duration_text(measured_->handle->open_seconds));
    }
}

std::optional<double> TutorialFigures::gather_seconds(const MeasuredGather& gather, double share) const {
    if (gather.seconds <= 0 || gather.received_bytes == 0) return std::nullopt;
    return static_cast<double>(model_.bytes) * share / (static_cast<double>(gather.received_bytes) / gather.seconds);
}

void TutorialFigures::measure_gather(std::vector<TutorialFigure>& rows, const MeasuredGather& gather) const {
    const double received = static_cast<double>(gather.received_bytes);
    rows[0].measured = fmt::format("{} into each of {} ranks in {}", bytes_text(received), gather.ranks, fine_duration_text(gather.seconds));
    rows[0].measured_seconds = gather_seconds(gather, double{kRanks - 1} / kRanks);
    if (rows[0].measured_seconds) {
        rows[0].measured += fmt::format("; at that rate {}", fine_duration_text(*rows[0].measured_seconds));
    }
    rows[1].measured = fmt::format("{} beside {}", bytes_text(static_cast<double>(gather.extra_bytes)), bytes_text(static_cast<double>(gather.shard_bytes)));
    rows[2].measured = fmt::format("{} x {:.0f} B = {}", gather.ranks, static_cast<double>(gather.handle_bytes) / std::max(gather.ranks, 1u),
                                   bytes_text(static_cast<double>(gather.handle_bytes)));
    rows.push_back({"shards there to loaded, with a gather", "-", "-", {}, fmt::format("{} for {}", fine_duration_text(gather.gathered_seconds), bytes_text(static_cast<double>(gather.model_bytes))), {}});
    rows.push_back({"asking to loaded, by plan, no gather", "-", "-", {}, fmt::format("{} for {}", fine_duration_text(gather.direct_seconds), bytes_text(static_cast<double>(gather.model_bytes))), {}});
}

std::vector<TutorialFigure> TutorialFigures::timeline_figures(const Timeline& line) const {
    const bool handle = line.method == "cuda_ipc";
    std::vector<TutorialFigure> rows;
    const auto* here = measured_method(stand_in_of(line.method).measured);
    const double transfer = here != nullptr ? here->seconds : 0;
    const double iteration = line.generation_seconds + line.training_seconds + transfer;
    for (const auto& phase : line.phases) {
        const bool moves = phase.name.substr(0, 8) == "transfer";
        const bool back = moves && phase.name.find("←") != std::string::npos;
        TutorialFigure row{phase.name, moves ? said(line.method, false) : fmt::format("{:.0f} s", phase.seconds), duration_text(phase.seconds), phase.seconds,
                           moves ? unmeasured(!back) : duration_text(phase.seconds) + "  (given)", {}};
        if (back) row.measured = "none: samples go back, not weights";
        if (moves && !back) measure(row, line.method);
        rows.push_back(std::move(row));
    }
    TutorialFigure total{"total", handle ? "50.002 s" : "55.70 s", iteration_text(line.iteration_seconds), line.iteration_seconds, unmeasured(true), {}};
    TutorialFigure overhead{"transfer overhead", handle ? "0.0 % (0.004)" : "10.2 %", overhead_text(line.overhead_percent), {}, unmeasured(true), {}};
    if (here != nullptr) {
        total.measured = iteration_text(iteration);
        total.measured_seconds = iteration;
        overhead.measured = overhead_text(100 * transfer / iteration);
    }
    rows.push_back(std::move(total));
    rows.push_back(std::move(overhead));
    return rows;
}

}  // namespace wsync
