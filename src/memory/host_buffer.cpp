#include "memory/host_buffer.hpp"

#include "memory/ledger.hpp"
#include "memory/mapping.hpp"
#include "memory/memory_limit.hpp"
#include "memory/prefault.hpp"

#include <fmt/format.h>

#include <sys/mman.h>

namespace wsync {

Result<std::shared_ptr<HostBuffer>> HostBuffer::make(const HostBufferOptions& options) {
    auto what = fmt::format("{} of {} bytes", options.role, options.bytes);
    if (options.bytes == 0) return Error{Code::invalid_argument, fmt::format("{}: a buffer has at least one byte", what)};
    WSYNC_TRY(auto mapped, whole_pages(options.bytes));
    WSYNC_TRY_VOID(check_memory(mapped, what));
    WSYNC_TRY(auto* address, map_aligned(mapped, -1, true).within(what));

    std::shared_ptr<HostBuffer> buffer(new HostBuffer);
    buffer->address_ = address;
    buffer->bytes_ = options.bytes;
    buffer->mapped_bytes_ = mapped;
    // Best effort: without huge pages the buffer works all the same.
    if (options.huge_pages) ::madvise(address, mapped, MADV_HUGEPAGE);
    if (options.prefault) WSYNC_TRY_VOID(populate_write({address, mapped}, options.prefault_threads).within(what));
    if (options.ledger != nullptr) {
        buffer->role_ = options.role;
        buffer->ledger_ = options.ledger;
        buffer->ledger_->add(buffer->role_, mapped);
    }
    return buffer;
}

HostBuffer::~HostBuffer() {
    if (address_ != nullptr) ::munmap(address_, mapped_bytes_);
    if (ledger_ != nullptr) ledger_->remove(role_, mapped_bytes_);
}

Region HostBuffer::region(const std::shared_ptr<HostBuffer>& buffer) {
    Region region;
    region.kind = MemoryKind::host;
    region.address = buffer->address_;
    region.bytes = buffer->bytes_;
    region.writable = true;
    region.owner = buffer;
    return region;
}

}  // namespace wsync
