// Which holder of a replicated box sends it: the least loaded.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace wsync {

// Deals out bytes over ranks. Deterministic: equal loads are broken by (rank + seed) modulo the ranks, smallest first.
// Sets of holders repeat (a mesh has few), so each set keeps a heap, whose entries may be out of date: loads only
// grow, so an entry that is not its rank's load any more is put back where it belongs when it comes to the top.
class ReplicaBalancer {
public:
    ReplicaBalancer(std::uint32_t ranks, std::uint32_t seed) : load_(ranks, 0), seed_(seed) {}

    // Bytes that a rank has to send anyway.
    void add(std::uint32_t rank, std::uint64_t bytes) noexcept { load_[rank] += bytes; }
    // The position in `ranks` (ascending, not empty) of the one that takes these bytes.
    [[nodiscard]] std::size_t assign(std::span<const std::uint32_t> ranks, std::uint64_t bytes);
    [[nodiscard]] const std::vector<std::uint64_t>& loads() const noexcept { return load_; }

private:
    struct Candidate {
        std::uint64_t load;
        std::uint32_t turn;      // (rank + seed) modulo the ranks
        std::uint32_t position;  // in the set
    };
    static bool later(const Candidate& a, const Candidate& b) noexcept { return a.load != b.load ? a.load > b.load : a.turn > b.turn; }

    std::vector<std::uint64_t> load_;
    std::uint32_t seed_;
    std::map<std::vector<std::uint32_t>, std::vector<Candidate>> heaps_;
    std::vector<std::uint32_t> key_;
};

}  // namespace wsync
