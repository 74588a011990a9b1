// Private memory for weights: page-aligned, huge pages where the system gives them, prefaulted, counted.
#pragma once

#include "memory/region.hpp"

namespace wsync {

class MemoryLedger;

struct HostBufferOptions {
    std::uint64_t bytes = 0;
    bool huge_pages = true;                  // MADV_HUGEPAGE
    bool prefault = true;                    // touch every page now
    unsigned prefault_threads = 1;           // the threads that touch are those the kernel places pages for
    MemoryLedger* ledger = nullptr;          // borrowed; outlives the buffer
    std::string_view role = "buffer";
};

class HostBuffer {
public:
    // Checks the memory limit first, as SharedSlab::make does. Memory is zero. 2 MiB-aligned.
    [[nodiscard]] static Result<std::shared_ptr<HostBuffer>> make(const HostBufferOptions& options);
    ~HostBuffer();
    HostBuffer(const HostBuffer&) = delete;
    HostBuffer& operator=(const HostBuffer&) = delete;

    [[nodiscard]] static Region region(const std::shared_ptr<HostBuffer>& buffer);  // kind host, writable
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {address_, bytes_}; }

private:
    HostBuffer() = default;
    std::byte* address_ = nullptr;
    std::uint64_t bytes_ = 0, mapped_bytes_ = 0;
    MemoryLedger* ledger_ = nullptr;
    std::string role_;
};

}  // namespace wsync
