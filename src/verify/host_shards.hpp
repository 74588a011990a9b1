// The bytes of a packed shard, where a processor can read them.
#pragma once

#include "memory/region.hpp"
#include "wsync/model/placement.hpp"

#include <span>

namespace wsync {

// Error{invalid_argument} when the place is not inside the regions, Error{unsupported} when they are not host memory.
[[nodiscard]] Result<std::span<const std::byte>> host_shard(const ShardPlace& place, std::uint64_t bytes, std::span<const Region> regions);

}  // namespace wsync
