#include "wsync/report/sync_json.hpp"

#include <nlohmann/json.hpp>

namespace wsync {

std::string to_json(const SyncReport& report, int indent) {
    nlohmann::ordered_json json{{"schema", "wsync.sync/1"},
                                {"name", report.name},
                                {"version", report.version},
                                {"step", report.step},
                                {"method", report.method},
                                {"transport", report.transport},
                                {"use", name_of(report.use)},
                                {"first", report.first},
                                {"seconds", report.seconds()}};
    auto& stages = json["stages"] = nlohmann::ordered_json::object();
    for (int i = 0; i < kStageCount; ++i) {
        const auto stage = static_cast<Stage>(i);
        stages[std::string(name_of(stage))] = report.stages[stage];
    }
    json["bytes_needed"] = report.bytes_needed;
    json["bytes_moved"] = report.bytes_moved;
    json["blocks_reused"] = report.blocks_reused;
    json["peak_extra_bytes"] = report.peak_extra_bytes;
    json["verification"] = name_of(report.verification);
    json["blocks_verified"] = report.blocks_verified;
    json["trainer_blocked_seconds"] = report.trainer_blocked_seconds;
    json["engine_stalled_seconds"] = report.engine_stalled_seconds;
    json["notes"] = report.notes;
    json["configuration"] = report.configuration;
    return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace wsync
