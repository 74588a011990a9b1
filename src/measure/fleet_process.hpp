// The bodies of the fleet's processes. See fleet.hpp.
#pragma once

#include "measure/fleet.hpp"

namespace wsync {

inline constexpr std::string_view kFleetName = "bench";  // the weights' name

struct FleetPlace {
    std::string control;         // "dir:..."
    std::string sockets;
    std::string disk;
    std::string run;
};

[[nodiscard]] int run_trainer(Conversation& parent, const FleetOptions& options, const FleetPlace& place, std::uint32_t rank);
[[nodiscard]] int run_receiver(Conversation& parent, const FleetOptions& options, const FleetPlace& place, unsigned index);

// What a session holds beside slabs.
[[nodiscard]] std::uint64_t extra_bytes(const Session& session);
// {"rss_anon", "rss_shmem", "page_tables", "ledger": {role: bytes}}
[[nodiscard]] Json memory_message(const Session& session);

}  // namespace wsync
