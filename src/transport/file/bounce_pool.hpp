// A bounded pool of aligned slots for requests whose memory has another phase than the file.
#pragma once

#include "wsync/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wsync {
class MemoryLedger;
}

namespace wsync::file_transport {

// One thread takes and gives back. Slots are mapped when they are first needed and stay until the pool goes.
class BouncePool {
public:
    BouncePool(std::uint64_t slot_bytes, std::size_t max_slots, MemoryLedger* ledger) : slot_bytes_(slot_bytes), max_slots_(max_slots), ledger_(ledger) {}
    ~BouncePool();
    BouncePool(const BouncePool&) = delete;
    BouncePool& operator=(const BouncePool&) = delete;

    // Null: all are out. Error{resource_exhausted}: no memory for the first one.
    [[nodiscard]] Result<std::byte*> take();
    void give_back(std::byte* slot) { free_.push_back(slot); }

private:
    std::uint64_t slot_bytes_;
    std::size_t max_slots_;
    MemoryLedger* ledger_;
    std::vector<std::byte*> all_, free_;
};

}  // namespace wsync::file_transport
