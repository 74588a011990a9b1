#include "measure/bench.hpp"

namespace wsync {
namespace {

Json to_json(const StageSeconds& stages) {
    Json json = Json::object();
    for (int i = 0; i < kStageCount; ++i) {
        const auto stage = static_cast<Stage>(i);
        json[std::string(name_of(stage))] = stages[stage];
    }
    return json;
}

Json to_json(const Spread& spread) { return {{"min", spread.min}, {"median", spread.median}, {"max", spread.max}}; }

Json to_json(const MethodResult& method, unsigned receivers) {
    Json json{{"id", method.id},
              {"transport", method.transport},
              {"receivers", receivers},
              {"bytes", method.bytes},
              {"bytes_moved", method.bytes_moved},
              {"first", {{"seconds", method.first.total()}, {"stages", to_json(method.first)}}},
              {"steady",
               {{"runs", method.steady_total.size()},
                {"seconds", to_json(method.seconds)},
                {"hand_over_seconds", to_json(method.hand_over)},
                {"stages", to_json(method.steady)},
                {"rounds", method.steady_total}}}};
    json["bytes_per_second"] = method.bytes_per_second > 0 ? Json(method.bytes_per_second) : Json(nullptr);
    json["limit"] = method.limit.empty() ? Json(nullptr) : Json(method.limit);
    json["share_of_limit"] = method.shares.empty() ? Json(nullptr) : Json(method.share_of_limit);
    json["shares"] = method.shares;
    json["parts"] = Json::array();
    for (const auto& part : method.parts) {
        json["parts"].push_back({{"id", part.id},
                                 {"seconds", to_json(spread_of(part.seconds))},
                                 {"rounds", part.seconds},
                                 {"bytes_per_second", part.bytes_per_second > 0 ? Json(part.bytes_per_second) : Json(nullptr)},
                                 {"limit", part.limit.empty() ? Json(nullptr) : Json(part.limit)},
                                 {"share_of_limit", part.shares.empty() ? Json(nullptr) : Json(median_of(part.shares))},
                                 {"shares", part.shares}});
    }
    json["peak_extra_bytes"] = {{"trainer", method.trainer_extra}, {"receiver", method.receiver_extra}};
    json["rss_growth_bytes"] = {{"trainer", method.trainer_rss_growth}, {"receiver", method.receiver_rss_growth}};
    json["verified"] = method.verified;
    return json;
}

}  // namespace

Json to_json(const std::vector<Limit>& limits) {
    Json json = Json::object();
    for (const auto& limit : limits) json[limit.name] = {{"bytes_per_second", limit.bytes_per_second}, {"variant", limit.variant}, {"rounds", limit.rounds}};
    return json;
}

Json to_json(const BenchResult& result) {
    Json methods = Json::array();
    for (const auto& method : result.methods) methods.push_back(to_json(method, result.receivers));
    Json json{{"schema", "wsync.bench/1"},
              {"machine", result.machine},
              {"model", {{"name", result.model}, {"bytes", result.bytes}, {"tensors", result.tensors}}},
              {"trainers", result.trainers},
              {"receivers", result.receivers},
              {"threads", result.threads},
              {"kernels", result.kernels},
              {"limits", to_json(result.limits)},
              {"methods", std::move(methods)},
              {"slab_bytes", {{"trainer", result.trainer_slab_bytes}, {"receiver", result.receiver_slab_bytes}}},
              {"publish_seconds", to_json(spread_of(result.publish_seconds))}};
    if (!result.disk_filesystem.empty()) {
        json["disk"] = {{"device", result.disk_device}, {"filesystem", result.disk_filesystem}, {"engine", result.disk_engine}};
    }
    return json;
}

}  // namespace wsync
