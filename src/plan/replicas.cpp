#include "plan/replicas.hpp"

#include <algorithm>

namespace wsync {

std::size_t ReplicaBalancer::assign(std::span<const std::uint32_t> ranks, std::uint64_t bytes) {
    key_.assign(ranks.begin(), ranks.end());
    auto [found, fresh] = heaps_.try_emplace(key_);
    std::vector<Candidate>& heap = found->second;
    if (fresh) {
        heap.reserve(ranks.size());
        for (std::uint32_t position = 0; position < ranks.size(); ++position) {
            const std::uint32_t rank = ranks[position];
            const auto turn = static_cast<std::uint32_t>((std::uint64_t{rank} + seed_) % load_.size());
            heap.push_back({load_[rank], turn, position});
        }
        std::make_heap(heap.begin(), heap.end(), later);
    }
    while (true) {
        std::pop_heap(heap.begin(), heap.end(), later);
        Candidate& best = heap.back();
        std::uint64_t& load = load_[ranks[best.position]];
        const bool current = best.load == load;
        if (current) load += bytes;
        const std::size_t position = best.position;
        best.load = load;
        std::push_heap(heap.begin(), heap.end(), later);
        if (current) return position;
    }
}

}  // namespace wsync
