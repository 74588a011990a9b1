// A sync's figures in the Prometheus text exposition format, for a scrape or a textfile collector.
#pragma once

#include "wsync/report/sync_report.hpp"

namespace wsync {

// Gauges of the newest sync, labelled by name and method; each with its HELP and TYPE line.
[[nodiscard]] std::string to_metrics_text(const SyncReport& latest);

}  // namespace wsync
