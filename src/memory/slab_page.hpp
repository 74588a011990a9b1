// The page behind every shared slab: what receivers see of it without asking.
//
// A slab's memfd holds the data, rounded up to 4 KiB, then one SlabPage. The exporter writes the page through the
// mapping it had before sealing; receivers map it read-only. Generations: even = may be read, odd = being written.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace wsync {

inline constexpr std::uint64_t kPageBytes = 4096;
inline constexpr std::uint64_t kSlabPageMagic = 0x31304c5359535731;  // "1WSYSL01"

struct SlabPage {
    std::uint64_t magic = kSlabPageMagic;
    std::uint16_t major = 1, minor = 0;
    std::uint32_t reserved = 0;
    std::array<std::byte, 16> nonce{};      // of this slab; an identity together with boot id and inode
    std::uint64_t data_bytes = 0;           // before rounding
    std::atomic<std::uint64_t> generation{0};
    std::atomic<std::uint32_t> wake{0};     // futex: grows with each publication
};
static_assert(sizeof(SlabPage) <= kPageBytes);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace wsync
