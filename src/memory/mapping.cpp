#include "memory/mapping.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <sys/mman.h>

namespace wsync {

Result<std::uint64_t> whole_pages(std::uint64_t bytes) {
    constexpr std::uint64_t kMost = 1ULL << 47;  // of the user's half of an address space
    if (bytes > kMost) return Error{Code::invalid_argument, fmt::format("{} bytes are more than an address space holds", bytes)};
    return (bytes + 4095) / 4096 * 4096;
}

Result<std::byte*> map_aligned(std::uint64_t bytes, int fd, bool writable) {
    // Reserve with room to align, map over the middle, give the ends back. The reservation costs no memory.
    auto reserved = bytes + kHugePageBytes;
    auto* raw = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return errno_error(errno, fmt::format("reserving {} bytes of address space", reserved));
    auto begin = reinterpret_cast<std::uintptr_t>(raw);
    auto aligned = (begin + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
    auto* address = reinterpret_cast<std::byte*>(aligned);

    int flags = MAP_FIXED | (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
    if (::mmap(address, bytes, PROT_READ | (writable ? PROT_WRITE : 0), flags, fd, 0) == MAP_FAILED) {
        auto error = errno_error(errno, fmt::format("mapping {} bytes", bytes));
        ::munmap(raw, reserved);
        return error;
    }
    if (aligned > begin) ::munmap(raw, aligned - begin);
    auto end = aligned + bytes, reserved_end = begin + reserved;
    if (reserved_end > end) ::munmap(reinterpret_cast<void*>(end), reserved_end - end);
    return address;
}

}  // namespace wsync
