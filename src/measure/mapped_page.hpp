// What the kernel says about an address of this process: which object is behind it, sealed how, in which frame.
//
// The witness of explain: two processes that see the same device, inode and offset behind their addresses see the same
// pages. Reads /proc/self; nothing is changed.
#pragma once

#include "wsync/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace wsync {

struct MappedPage {
    std::uint64_t address = 0;      // as it was asked for
    std::uint64_t map_begin = 0;    // of the mapping that holds it
    std::uint64_t file_offset = 0;  // of the address in the object behind it
    std::string permissions;        // "rw-s", "r--s"
    std::string device;             // "00:01"
    std::uint64_t inode = 0;        // 0: private memory
    std::string object;             // "/memfd:wsync (deleted)"
};

// Error{not_found}: nothing is mapped there.
[[nodiscard]] Result<MappedPage> mapped_page(const void* address);

// The number of the physical frame behind a touched page; nothing where the kernel keeps it to itself
// (/proc/self/pagemap tells it to CAP_SYS_ADMIN alone).
[[nodiscard]] std::optional<std::uint64_t> physical_frame(const void* address);

// The seals of the memfd behind `page`, by a descriptor that this process has of it: "shrink", "grow", "future_write",
// "write", "seal". Error{not_found}: this process has none.
[[nodiscard]] Result<std::vector<std::string>> seals_of(const MappedPage& page);

}  // namespace wsync
