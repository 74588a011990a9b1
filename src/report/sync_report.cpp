#include "wsync/report/sync_report.hpp"

#include <numeric>

namespace wsync {

std::string_view name_of(Stage stage) noexcept {
    switch (stage) {
        case Stage::prepare: return "prepare";
        case Stage::expose: return "expose";
        case Stage::signal: return "signal";
        case Stage::connect: return "connect";
        case Stage::move: return "move";
        case Stage::decode: return "decode";
        case Stage::verify: return "verify";
        case Stage::pause: return "pause";
        case Stage::install: return "install";
        case Stage::flush: return "flush";
        case Stage::activate: return "activate";
        case Stage::resume: return "resume";
        case Stage::release: return "release";
    }
    return "unknown";
}

std::string_view name_of(Verification level) noexcept {
    switch (level) {
        case Verification::none: return "none";
        case Verification::identity: return "identity";
        case Verification::content: return "content";
        case Verification::content_at_rest: return "content_at_rest";
    }
    return "unknown";
}

std::string_view name_of(Use use) noexcept {
    switch (use) {
        case Use::copy: return "copy";
        case Use::map_then_install: return "map_then_install";
        case Use::serve_in_place: return "serve_in_place";
    }
    return "unknown";
}

double StageSeconds::total() const noexcept { return std::accumulate(seconds_.begin(), seconds_.end(), 0.0); }

double StageSeconds::hand_over() const noexcept { return total() - (*this)[Stage::prepare] - (*this)[Stage::expose] - (*this)[Stage::release]; }

std::map<std::string, double> SyncReport::metrics() const {
    std::map<std::string, double> metrics{{"wsync/seconds", seconds()},
                                          {"wsync/step", static_cast<double>(step)},
                                          {"wsync/bytes_needed", static_cast<double>(bytes_needed)},
                                          {"wsync/bytes_moved", static_cast<double>(bytes_moved)},
                                          {"wsync/blocks_reused", static_cast<double>(blocks_reused)},
                                          {"wsync/blocks_verified", static_cast<double>(blocks_verified)},
                                          {"wsync/trainer_blocked_seconds", trainer_blocked_seconds},
                                          {"wsync/engine_stalled_seconds", engine_stalled_seconds}};
    for (int i = 0; i < kStageCount; ++i) {
        const auto stage = static_cast<Stage>(i);
        metrics["wsync/stage/" + std::string(name_of(stage))] = stages[stage];
    }
    for (const auto& [role, bytes] : peak_extra_bytes) metrics["wsync/peak_extra_bytes/" + role] = static_cast<double>(bytes);
    return metrics;
}

}  // namespace wsync
