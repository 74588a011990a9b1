// Address space whose beginning is a multiple of 2 MiB, so that the kernel can put huge pages under it.
#pragma once

#include "wsync/base/result.hpp"

#include <cstddef>
#include <cstdint>

namespace wsync {

inline constexpr std::uint64_t kHugePageBytes = 2ULL << 20;

// Up to a multiple of 4 KiB; Error{invalid_argument} when that is more than an address space holds.
[[nodiscard]] Result<std::uint64_t> whole_pages(std::uint64_t bytes);

// A new mapping of exactly `bytes` (whole pages): of `fd` from offset 0, shared; or private zero memory when fd is -1.
// Unmap it with munmap(address, bytes).
[[nodiscard]] Result<std::byte*> map_aligned(std::uint64_t bytes, int fd, bool writable);

}  // namespace wsync
