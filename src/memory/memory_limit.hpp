// How much memory this process may still take, and what the kernel says it has taken.
#pragma once

#include "wsync/base/result.hpp"

#include <cstdint>
#include <string>

namespace wsync {

struct MemoryLimit {
    std::uint64_t available_bytes = 0;
    std::uint64_t limit_bytes = 0;  // that it is left of: the group's limit, or the machine's memory
    std::string set_by;  // "/sys/fs/cgroup/.../memory.max" or "MemAvailable"
};
// The smaller of MemAvailable and what the memory cgroups (v2, v1; every ancestor) leave.
[[nodiscard]] Result<MemoryLimit> memory_limit();
// Error{resource_exhausted}: "need 12.0 GB for <what>, 8.1 GB are left (set by ...)".
[[nodiscard]] Status check_memory(std::uint64_t bytes, std::string_view what);

// The kernel's figures for this process, in bytes (/proc/self/status).
struct KernelMemory {
    std::uint64_t rss_anon = 0, rss_shmem = 0, rss_file = 0, page_tables = 0;
};
[[nodiscard]] Result<KernelMemory> kernel_memory();

}  // namespace wsync
