// A receiver's own slabs: where versions are staged and served from.
//
// A slot is lent to one version at a time and comes back when its last user (active version, pin, staged version) goes.
// Its label says what it holds: cleared before the first write, set after verification. Thread-safe.
#pragma once

#include "memory/host_buffer.hpp"
#include "memory/ledger.hpp"
#include "wsync/base/deadline.hpp"
#include "wsync/base/digest.hpp"

#include <condition_variable>
#include <mutex>
#include <vector>

namespace wsync {

struct Slot {
    Region region;
    std::string label = "torn";       // the version's label, or "torn"
    Digest binding{};                 // what `digests` refer to
    std::vector<Digest> digests;      // of each block as it is in memory now; zero: unknown
};

class SlotPool {
public:
    // `count` slots of `bytes`; those in `given` (borrowed memory of at least that size) are used first.
    [[nodiscard]] static Result<std::unique_ptr<SlotPool>> make(unsigned count, std::uint64_t bytes, std::span<const std::span<std::byte>> given,
                                                                bool huge_pages, unsigned prefault_threads, MemoryLedger* ledger);
    // A slot that nobody uses. Error{timed_out} when all are in use.
    [[nodiscard]] Result<std::shared_ptr<Slot>> take(Deadline deadline);
    [[nodiscard]] std::size_t size() const { return state_->slots.size(); }

private:
    struct State {
        std::mutex mutex;
        std::condition_variable returned;
        std::vector<Slot> slots;
        std::vector<std::size_t> free;
    };
    std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace wsync
