// What this machine and this process's surroundings allow, each tried for real: one finding a question.
#pragma once

#include "memory/memory_limit.hpp"

#include <string>

namespace wsync {

struct Finding {
    std::string what;
    bool ok = false;
    std::string how;     // what was found, or why not
    std::string remedy;  // empty: nothing is to be done
};

// Each leaves nothing behind and takes no longer than a few milliseconds. Any thread.
[[nodiscard]] Finding probe_congestion_control();
[[nodiscard]] Finding probe_descriptor_passing();
[[nodiscard]] Finding probe_pidfd();
[[nodiscard]] Finding probe_memfd_seals();
[[nodiscard]] Finding probe_huge_pages();
[[nodiscard]] Finding probe_io_uring();
// Writes and reads one block of a file without a name.
[[nodiscard]] Finding probe_direct_io(const std::string& directory);
// Of memory_limit()'s answer.
[[nodiscard]] Finding judge_memory(const Result<MemoryLimit>& limit);

}  // namespace wsync
