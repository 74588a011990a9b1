#include "transport/fault/fate.hpp"

#include <algorithm>
#include <array>

namespace wsync::fault {

std::uint64_t mix(std::uint64_t seed, std::uint64_t number, std::uint64_t purpose) noexcept {
    // splitmix64's finaliser, twice: neighbouring numbers share nothing.
    std::uint64_t x = seed + 0x9e3779b97f4a7c15ULL * number + 0xd1342543de82ef95ULL * purpose;
    for (int round = 0; round < 2; ++round) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
        x ^= x >> 31;
    }
    return x;
}

Fate fate_of(const FaultPolicy& policy, std::uint64_t number) {
    const std::array<std::pair<const FaultPolicy::Fault*, Fate>, 5> faults{{{&policy.fail, Fate::fail},
                                                                            {&policy.drop, Fate::drop},
                                                                            {&policy.corrupt, Fate::corrupt},
                                                                            {&policy.delay, Fate::delay},
                                                                            {&policy.reorder, Fate::reorder}}};
    for (const auto& [fault, fate] : faults) {
        if (std::find(fault->at.begin(), fault->at.end(), number) != fault->at.end()) return fate;
        // 53 bits make a uniform double in [0, 1).
        const double drawn = static_cast<double>(mix(policy.seed, number, static_cast<std::uint64_t>(fate)) >> 11) * 0x1p-53;
        if (drawn < fault->probability) return fate;
    }
    return Fate::pass;
}

void flip_one_byte(const Transfer& transfer, std::uint64_t chosen) noexcept {
    const std::uint64_t at = chosen % (transfer.row_bytes * transfer.rows);
    const std::uint64_t offset = at / transfer.row_bytes * transfer.local_stride + at % transfer.row_bytes;
    transfer.local->address[transfer.local_offset + offset] ^= std::byte{1} << (chosen >> 61);
}

}  // namespace wsync::fault
