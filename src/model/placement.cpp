#include "wsync/model/placement.hpp"

#include "model/utf8.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <numeric>

namespace wsync {
namespace {

constexpr std::uint64_t kMax63 = std::numeric_limits<std::int64_t>::max();

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message), {}}; }

Status check_rank(const Layout& layout, std::uint32_t rank) {
    if (rank < layout.ranks()) return {};
    return bad(fmt::format("rank {} is not in a layout of {} ranks", rank, layout.ranks()));
}

std::string describe(const Layout& layout, const Shard& shard) {
    return fmt::format("{} {}", in_quotes(layout.manifest()[shard.tensor].name), shard.box.to_string());
}

}  // namespace

std::uint64_t Placement::bytes() const noexcept { return std::accumulate(region_bytes.begin(), region_bytes.end(), std::uint64_t{0}); }

Result<Placement> pack(const Layout& layout, std::uint32_t rank, std::uint64_t alignment) {
    WSYNC_TRY_VOID(check_rank(layout, rank));
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) return bad(fmt::format("an alignment of {} is not a power of two", alignment));
    Placement placement;
    std::uint64_t end = 0;
    for (const Shard& shard : layout.shards_of(rank)) {
        std::uint64_t begin = 0;
        if (__builtin_add_overflow(end, alignment - 1, &begin)) begin = kMax63 + 1;
        begin &= ~(alignment - 1);
        // Below 2^63 both, so the sum does not wrap.
        const std::uint64_t bytes = shard.box.bytes(layout.manifest()[shard.tensor].dtype);
        if (begin > kMax63 || begin + bytes > kMax63) {
            return bad(fmt::format("rank {} packed at an alignment of {} passes 2^63 bytes at {}", rank, alignment, describe(layout, shard)));
        }
        placement.places.push_back({0, begin});
        end = begin + bytes;
    }
    placement.region_bytes = {end};
    return placement;
}

Status check(const Layout& layout, std::uint32_t rank, const Placement& placement) {
    WSYNC_TRY_VOID(check_rank(layout, rank));
    const auto shards = layout.shards_of(rank);
    if (placement.places.size() != shards.size()) {
        return bad(fmt::format("the placement has {} places for the {} shards of rank {}", placement.places.size(), shards.size(), rank));
    }
    std::uint64_t total = 0;
    for (std::uint64_t bytes : placement.region_bytes) {
        if (bytes > kMax63 - total) return bad("the placement's regions pass 2^63 bytes together");
        total += bytes;
    }
    auto bytes_of = [&](std::size_t i) { return shards[i].box.bytes(layout.manifest()[shards[i].tensor].dtype); };
    for (std::size_t i = 0; i < shards.size(); ++i) {
        const ShardPlace& place = placement.places[i];
        if (place.region >= placement.region_bytes.size()) {
            return bad(fmt::format("{} is placed in region {}, there are {}", describe(layout, shards[i]), place.region, placement.region_bytes.size()));
        }
        const std::uint64_t region_bytes = placement.region_bytes[place.region];
        if (place.offset > region_bytes || bytes_of(i) > region_bytes - place.offset) {
            return bad(fmt::format("{} ({} bytes at offset {}) is not inside region {} of {} bytes", describe(layout, shards[i]), bytes_of(i),
                                   place.offset, place.region, region_bytes));
        }
    }
    std::vector<std::size_t> order(shards.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    auto before = [&](std::size_t a, std::size_t b) {
        const ShardPlace &x = placement.places[a], &y = placement.places[b];
        return x.region != y.region ? x.region < y.region : x.offset < y.offset;
    };
    if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
    for (std::size_t k = 1; k < order.size(); ++k) {
        const ShardPlace &a = placement.places[order[k - 1]], &b = placement.places[order[k]];
        if (a.region == b.region && a.offset + bytes_of(order[k - 1]) > b.offset) {
            return bad(fmt::format("{} and {} overlap in region {} at offset {}", describe(layout, shards[order[k - 1]]),
                                   describe(layout, shards[order[k]]), a.region, b.offset));
        }
    }
    return {};
}

}  // namespace wsync
