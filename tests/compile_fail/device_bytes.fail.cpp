// says: no matching function for call to .*copy_out|could not convert|cannot convert|no viable conversion|invalid initialization
#include "memory/region.hpp"

void copy_out(std::span<const std::byte> bytes);

void save(const wsync::Region& region) { copy_out(region.host_bytes()); }
