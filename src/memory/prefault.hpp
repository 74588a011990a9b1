// Page tables filled before the bytes are needed, by any number of threads.
//
// Where the kernel lacks MADV_POPULATE_* (before 5.14) the pages are touched instead. Error{resource_exhausted} when
// there is no memory for them. Ranges are whole pages; the caller keeps others from unmapping them meanwhile.
#pragma once

#include "wsync/base/result.hpp"

#include <cstddef>
#include <functional>
#include <span>

namespace wsync {

// For writing: private pages are made, a memfd's holes are filled. The bytes stay as they are; nobody else may write
// to them meanwhile.
[[nodiscard]] Status populate_write(std::span<std::byte> range, unsigned threads);
// For reading.
[[nodiscard]] Status populate_read(std::span<std::byte> range, unsigned threads);

// Runs `work` over `range` cut into one piece per thread, at multiples of 2 MiB from its beginning; the first error is
// returned. Threads beyond what the system grants are done without. `work` must not throw.
[[nodiscard]] Status for_each_piece(std::span<std::byte> range, unsigned threads, const std::function<Status(std::span<std::byte>)>& work);

}  // namespace wsync
