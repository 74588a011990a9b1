// The parsers behind memory_limit.hpp, over a root directory that tests can fake.
#pragma once

#include "memory/memory_limit.hpp"

namespace wsync {

// As memory_limit(), with `root` before every path that is read ("" on a real system). Paths in `set_by` have no root.
[[nodiscard]] Result<MemoryLimit> memory_limit_under(const std::string& root);
[[nodiscard]] Status check_memory_under(const std::string& root, std::uint64_t bytes, std::string_view what);
[[nodiscard]] Result<KernelMemory> kernel_memory_under(const std::string& root);

}  // namespace wsync
