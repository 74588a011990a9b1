// The bodies of explain fsdp's processes, and what they agree on. See explain_fsdp.hpp.
#pragma once

#include "measure/child.hpp"
#include "measure/explain_fsdp.hpp"
#include "wsync/model/placement.hpp"

namespace wsync {

inline constexpr std::string_view kShardsName = "shards";  // the sharded weights' name

struct FsdpPlace {
    std::string control, sockets;
    Layout layout;                // of the shards
    Layout whole;                 // one rank, every tensor whole
    Placement packed;             // of `whole`: the gathered slabs' and the engine's
};

[[nodiscard]] std::string gathered_name(std::uint32_t rank);  // "gathered-3"
// Nanoseconds of a clock that all processes of this host share.
[[nodiscard]] std::int64_t host_time();
[[nodiscard]] Result<Session> open_session(const ExplainFsdpOptions& options, const FsdpPlace& place);
// What `session` holds at its peak since the last asking, slabs too, and the kernel's figures now. Starts the peak anew.
[[nodiscard]] Json memory_of(Session& session);
// For each rank, one digest of its shards as they lie in whole tensors at `base`, packed as place.packed says.
// Both sides compute it: the owner of its own shards, everybody else of what he has.
[[nodiscard]] std::vector<std::string> digests_in_whole(const FsdpPlace& place, const std::byte* base);
// The same of one rank, of the packed bytes of its shards.
[[nodiscard]] std::string digest_of_shards(const std::vector<std::span<std::byte>>& shards);

[[nodiscard]] int run_fsdp_rank(Conversation& parent, const ExplainFsdpOptions& options, const FsdpPlace& place, std::uint32_t rank);
[[nodiscard]] int run_fsdp_engine(Conversation& parent, const ExplainFsdpOptions& options, const FsdpPlace& place);

}  // namespace wsync
