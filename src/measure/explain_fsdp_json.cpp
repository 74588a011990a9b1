#include "measure/explain_fsdp.hpp"

namespace wsync {
namespace {

Json to_json(const HeldMemory& held) { return {{"ledger", held.ledger}, {"rss_anon", held.rss_anon}, {"rss_shmem", held.rss_shmem}}; }

Json to_json(const FsdpRank& rank) {
    Json json{{"pid", rank.pid}, {"shards", rank.shards}, {"shard_bytes", rank.shard_bytes}, {"handle_bytes", rank.handle_bytes}};
    json["gather"] = {{"bytes_from_others", rank.bytes_from_others}, {"allocate_seconds", rank.allocate_seconds}, {"first_seconds", rank.first_gather_seconds}};
    json["gather"].update({{"seconds", rank.gather_seconds}, {"verification", rank.verification}});
    json["waited_seconds"] = {{"for_the_slowest", rank.waited_seconds}, {"for_the_hold", rank.hold_wait_seconds}, {"without_gather", rank.waited_without_gather_seconds}};
    json["memory"] = {{"before", to_json(rank.before)}, {"peak", to_json(rank.peak)}, {"extra_without_gather", rank.extra_without_gather}};
    return json;
}

Json to_json(const FsdpWay& way) {
    return {{"first_seconds", way.first_seconds}, {"seconds", way.seconds}, {"bytes_moved", way.bytes_moved}, {"extra_bytes", way.extra_bytes}, {"verification", way.verification}};
}

}  // namespace

Json to_json(const FsdpExplanation& found) {
    Json json{{"schema", "wsync.explain_fsdp/1"}, {"machine", found.machine}};
    json["model"] = {{"name", found.model}, {"bytes", found.bytes}, {"tensors", found.tensors}};
    json["layout"] = found.layout;
    json["transport"] = found.transport;
    json["ranks"] = Json::array();
    for (const auto& rank : found.ranks) json["ranks"].push_back(to_json(rank));
    json["coordination"] = {{"late_rank", found.late_rank}, {"late_seconds", found.late_seconds}, {"last_handle", found.last_handle}, {"collect_seconds", found.collect_seconds}};
    json["handles"] = {{"count", found.handles}, {"bytes", found.handle_bytes}};
    json["handles"]["open_seconds"] = {{"min", found.open_seconds.min}, {"median", found.open_seconds.median}, {"max", found.open_seconds.max}};
    json["load_seconds"] = found.load_seconds;
    json["lifetime"] = {{"held_seconds", found.hold_seconds}, {"refused_write", found.refused_write}};
    json["gathered"] = to_json(found.gathered);
    json["direct"] = to_json(found.direct);
    json["engine_bytes"] = found.engine_bytes;
    json["verified"] = found.verified;
    return json;
}

}  // namespace wsync
