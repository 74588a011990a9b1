// Syncs on a time line: Chrome trace events, for chrome://tracing, Perfetto and speedscope.
#pragma once

#include "wsync/report/sync_report.hpp"

#include <span>

namespace wsync {

struct TracedSync {
    const SyncReport* report = nullptr;  // borrowed during the call
    std::string row;                     // whose it is: "receiver 2"
    double begin_seconds = 0;            // on a clock that all rows share
};

// One row a name, one span a sync, and its stages below it in their order. A stage of no length is left out.
[[nodiscard]] std::string to_chrome_trace(std::span<const TracedSync> syncs);

}  // namespace wsync
