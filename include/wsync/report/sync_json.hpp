// A sync's report as JSON, schema "wsync.sync/1" (docs/json.md).
#pragma once

#include "wsync/report/sync_report.hpp"

namespace wsync {

// `indent` spaces a level; negative: one line. Text that is no UTF-8 has U+FFFD in its place.
[[nodiscard]] std::string to_json(const SyncReport& report, int indent = 2);

}  // namespace wsync
