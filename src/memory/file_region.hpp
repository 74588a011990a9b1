// Regions of kind file: a regular file's bytes at known offsets, not mapped.
#pragma once

#include "memory/region.hpp"
#include "wsync/base/unique_fd.hpp"

namespace wsync {

// kind file, address null, bytes = the size at this moment, fd owned by `owner`, path as given. Regular files only:
// Error{invalid_argument} for anything else (a FIFO is not waited for), Error{not_found} when there is none.
[[nodiscard]] Result<Region> open_file_region(const std::string& path, bool writable);

// The same around a descriptor that is open already; `path` is for messages.
[[nodiscard]] Result<Region> file_region_of(UniqueFd fd, const std::string& path, bool writable);

}  // namespace wsync
