#include "sync/slots.hpp"

#include <fmt/format.h>

namespace wsync {

Result<std::unique_ptr<SlotPool>> SlotPool::make(unsigned count, std::uint64_t bytes, std::span<const std::span<std::byte>> given, bool huge_pages,
                                                 unsigned prefault_threads, MemoryLedger* ledger) {
    auto pool = std::make_unique<SlotPool>();
    auto& state = *pool->state_;
    for (unsigned i = 0; i < count; ++i) {
        Slot slot;
        if (i < given.size()) {
            if (given[i].size() < bytes) {
                return Error{Code::invalid_argument, fmt::format("slot {} has {} bytes, the wanted tensors need {}", i, given[i].size(), bytes), {}};
            }
            slot.region.kind = MemoryKind::host;
            slot.region.address = given[i].data();
            slot.region.bytes = given[i].size();
            slot.region.writable = true;
        } else {
            HostBufferOptions options;
            options.bytes = bytes;
            options.huge_pages = huge_pages;
            options.prefault_threads = prefault_threads;
            options.ledger = ledger;
            options.role = "receiver slab";
            WSYNC_TRY(auto buffer, HostBuffer::make(options).within(fmt::format("making receiver slab {} of {}", i + 1, count)));
            slot.region = HostBuffer::region(buffer);
        }
        state.slots.push_back(std::move(slot));
        state.free.push_back(i);
    }
    return pool;
}

Result<std::shared_ptr<Slot>> SlotPool::take(Deadline deadline) {
    auto& state = *state_;
    std::unique_lock lock(state.mutex);
    const auto available = [&] { return !state.free.empty(); };
    while (!available() && !deadline.expired()) {
        if (auto when = deadline.next_look()) {
            state.returned.wait_until(lock, *when);
        } else {
            state.returned.wait(lock);
        }
    }
    if (!available()) {
        return Error{Code::timed_out, fmt::format("all {} slabs of the receiver are in use: a pin or a staged version still holds one", state.slots.size()), {}};
    }
    const auto index = state.free.front();
    state.free.erase(state.free.begin());
    return std::shared_ptr<Slot>(&state.slots[index], [shared = state_, index](Slot*) {
        std::lock_guard give_back(shared->mutex);
        shared->free.push_back(index);
        shared->returned.notify_all();
    });
}

}  // namespace wsync
