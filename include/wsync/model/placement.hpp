// Where each shard of one rank lies: a region number and a byte offset, packed row-major.
//
// A slab has one region (0); a sharded checkpoint has one for each file. A plain value.
#pragma once

#include "wsync/model/layout.hpp"

namespace wsync {

struct ShardPlace {
    std::uint32_t region = 0;
    std::uint64_t offset = 0;  // bytes from the region's beginning
    friend bool operator==(const ShardPlace&, const ShardPlace&) = default;
};

struct Placement {
    std::vector<ShardPlace> places;           // one for each of layout.shards_of(rank), in that order
    std::vector<std::uint64_t> region_bytes;  // size of each region

    [[nodiscard]] std::uint64_t bytes() const noexcept;  // of all regions
    friend bool operator==(const Placement&, const Placement&) = default;
};

// All shards of the rank one behind the other in one region, each on a multiple of `alignment` (a power of two).
[[nodiscard]] Result<Placement> pack(const Layout& layout, std::uint32_t rank, std::uint64_t alignment = 64);
// Proves that every shard lies inside its region and that no two overlap.
[[nodiscard]] Status check(const Layout& layout, std::uint32_t rank, const Placement& placement);

}  // namespace wsync
