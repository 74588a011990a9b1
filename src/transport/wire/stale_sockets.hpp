// What processes that were killed have left in a directory of sockets.
#pragma once

#include <string>

namespace wsync {

// Removes wsync's own Unix sockets on which nobody listens any more. Others' files are left alone, and so is what can't be
// removed: this tidies up, and nobody waits for it.
void remove_stale_sockets(const std::string& directory) noexcept;

}  // namespace wsync
