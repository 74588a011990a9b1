// Where bytes live.
//
// A Region is a value that names bytes and shares the owner that keeps them alive; the owners (HostBuffer, SharedSlab,
// MappedSlab, FileRegion) are in files of their own. Device memory has no host address, so it can't be copied by accident.
#pragma once

#include "wsync/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace wsync {

enum class MemoryKind : std::uint8_t { host, shared, file, device };
[[nodiscard]] std::string_view name_of(MemoryKind kind) noexcept;

struct Region {
    MemoryKind kind = MemoryKind::host;
    int device_ordinal = -1;                 // of MemoryKind::device
    std::byte* address = nullptr;            // in this process; null for an unmapped file
    std::uint64_t bytes = 0;
    bool writable = false;
    int fd = -1;                             // memfd or file that backs it; -1: none. Owned by `owner`
    std::uint64_t fd_offset = 0;             // where the region begins in fd
    std::string path;                        // of MemoryKind::file
    std::shared_ptr<const void> owner;       // keeps address and fd alive

    // The bytes, where a processor can touch them.
    [[nodiscard]] std::optional<std::span<std::byte>> host_bytes() const {
        if (kind == MemoryKind::device || address == nullptr) return std::nullopt;
        return std::span<std::byte>(address, bytes);
    }
};

}  // namespace wsync
