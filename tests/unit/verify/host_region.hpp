// Plain memory as a Region, for tests.
#pragma once

#include "memory/region.hpp"

#include <cstring>
#include <vector>

namespace wsync::testing {

inline Region host_region(std::vector<std::byte> bytes) {
    auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
    Region region;
    region.address = owner->data();
    region.bytes = owner->size();
    region.writable = true;
    region.owner = owner;
    return region;
}

// Bytes that differ from place to place.
inline std::vector<std::byte> pattern(std::uint64_t bytes, std::uint64_t seed = 1) {
    std::vector<std::byte> out(bytes);
    std::uint64_t state = seed;
    for (std::byte& byte : out) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        byte = static_cast<std::byte>(state >> 56);
    }
    return out;
}

}  // namespace wsync::testing
