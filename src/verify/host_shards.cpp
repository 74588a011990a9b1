#include "verify/host_shards.hpp"

#include <fmt/format.h>

namespace wsync {

Result<std::span<const std::byte>> host_shard(const ShardPlace& place, std::uint64_t bytes, std::span<const Region> regions) {
    if (place.region >= regions.size()) {
        return Error{Code::invalid_argument, fmt::format("the placement names region {}, {} were given", place.region, regions.size()), {}};
    }
    const Region& region = regions[place.region];
    if (place.offset > region.bytes || bytes > region.bytes - place.offset) {
        return Error{Code::invalid_argument,
                     fmt::format("a shard of {} bytes at offset {} is not inside region {} of {} bytes", bytes, place.offset, place.region,
                                 region.bytes),
                     {}};
    }
    if (bytes == 0) return std::span<const std::byte>{};
    const auto host = region.host_bytes();
    if (!host) {
        return Error{Code::unsupported,
                     fmt::format("region {} ({} memory{}{}) can't be read by the processor: map it or copy it to the host first", place.region,
                                 name_of(region.kind), region.path.empty() ? "" : " ", region.path),
                     {}};
    }
    return std::span<const std::byte>(*host).subspan(place.offset, bytes);
}

}  // namespace wsync
