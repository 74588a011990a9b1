// Shared slabs: one memfd for any number of tensors, made once and recycled for every version.
#pragma once

#include "memory/region.hpp"
#include "memory/slab_page.hpp"
#include "wsync/base/unique_fd.hpp"

namespace wsync {

class MemoryLedger;

struct SlabOptions {
    std::uint64_t bytes = 0;
    std::string name = "wsync";             // shows in /proc/PID/maps as memfd:NAME
    bool huge_pages = true;                 // MADV_COLLAPSE: 2 MiB pages without system settings, best effort
    unsigned populate_threads = 1;
    MemoryLedger* ledger = nullptr;         // borrowed; outlives the slab
    std::string_view role = "slab";         // the ledger's row
};

// The exporter's side. Sealed SHRINK | GROW | FUTURE_WRITE | SEAL; MADV_DONTFORK, so that a forked child can't keep
// or copy it. Thread-safe as plain memory is.
class SharedSlab {
public:
    // Checks the memory limit first (memory_limit.hpp): Error{resource_exhausted} says need, limit and what sets it.
    [[nodiscard]] static Result<std::shared_ptr<SharedSlab>> make(const SlabOptions& options);
    ~SharedSlab();
    SharedSlab(const SharedSlab&) = delete;
    SharedSlab& operator=(const SharedSlab&) = delete;

    // kind shared, writable, fd = the memfd, offset 0. Its owner is this slab.
    [[nodiscard]] static Region region(const std::shared_ptr<SharedSlab>& slab);
    [[nodiscard]] SlabPage& page() noexcept;
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] std::uint64_t inode() const noexcept { return inode_; }
    [[nodiscard]] bool huge() const noexcept { return huge_; }  // whether 2 MiB pages were obtained

private:
    SharedSlab() = default;
    UniqueFd fd_;
    std::byte* address_ = nullptr;
    std::uint64_t data_bytes_ = 0, mapped_bytes_ = 0, inode_ = 0;
    bool huge_ = false;
    MemoryLedger* ledger_ = nullptr;
    std::string role_;
};

// The receiver's side: a read-only map of somebody's slab. Refuses (Error{corrupt}) a descriptor that is not sealed
// SHRINK|GROW, whose page has another magic or major, or whose size does not fit what it says.
class MappedSlab {
public:
    struct Options {
        bool populate = false;               // MAP_POPULATE the data now; otherwise pages come as they are touched
    };
    [[nodiscard]] static Result<std::shared_ptr<MappedSlab>> map(UniqueFd memfd, const Options& options);
    ~MappedSlab();
    MappedSlab(const MappedSlab&) = delete;
    MappedSlab& operator=(const MappedSlab&) = delete;

    [[nodiscard]] static Region region(const std::shared_ptr<MappedSlab>& slab);  // kind shared, read-only
    [[nodiscard]] const SlabPage& page() const noexcept;
    [[nodiscard]] std::uint64_t inode() const noexcept { return inode_; }
    // Prefault the whole data read-only (MADV_POPULATE_READ).
    [[nodiscard]] Status populate();

private:
    MappedSlab() = default;
    UniqueFd fd_;
    std::byte* address_ = nullptr;
    std::uint64_t data_bytes_ = 0, mapped_bytes_ = 0, inode_ = 0;
};

}  // namespace wsync
