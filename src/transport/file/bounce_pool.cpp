#include "transport/file/bounce_pool.hpp"

#include "memory/ledger.hpp"
#include "memory/mapping.hpp"

#include <sys/mman.h>

namespace wsync::file_transport {
namespace {
constexpr std::string_view kRole = "file bounce";
}

BouncePool::~BouncePool() {
    for (std::byte* slot : all_) {
        ::munmap(slot, slot_bytes_);
        if (ledger_ != nullptr) ledger_->remove(kRole, slot_bytes_);
    }
}

Result<std::byte*> BouncePool::take() {
    if (free_.empty() && all_.size() < max_slots_) {
        auto slot = map_aligned(slot_bytes_, -1, true);
        if (!slot) {
            if (all_.empty()) return std::move(slot).error().within("making a slot for unaligned file requests");
            return static_cast<std::byte*>(nullptr);
        }
        ::madvise(*slot, slot_bytes_, MADV_HUGEPAGE);
        ::madvise(*slot, slot_bytes_, MADV_DONTFORK);  // the kernel may be writing into it while somebody forks
        all_.push_back(*slot);
        free_.push_back(*slot);
        if (ledger_ != nullptr) ledger_->add(kRole, slot_bytes_);
    }
    if (free_.empty()) return static_cast<std::byte*>(nullptr);
    std::byte* slot = free_.back();
    free_.pop_back();
    return slot;
}

}  // namespace wsync::file_transport
