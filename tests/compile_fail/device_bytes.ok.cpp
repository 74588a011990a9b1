#include "memory/region.hpp"

void copy_out(std::span<const std::byte> bytes);

bool save(const wsync::Region& region) {
    const auto bytes = region.host_bytes();
    if (!bytes) return false;  // a processor can't touch it
    copy_out(*bytes);
    return true;
}
