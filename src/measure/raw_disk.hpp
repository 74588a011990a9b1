// Large transfers between memory and a file at a fixed depth, as the disk probes need them: no checks, no digests.
#pragma once

#include "wsync/base/result.hpp"
#include "wsync/base/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace wsync {

struct RawShape {
    std::uint64_t block_bytes = 4 << 20;
    unsigned depth = 8;  // requests in flight, or threads
};

// A file without a name in `directory`, with direct I/O if the file system grants it.
struct NamelessFile {
    UniqueFd fd;
    bool direct = false;

    // Error{resource_exhausted} when less than `bytes` are free there.
    [[nodiscard]] static Result<NamelessFile> make(const std::string& directory, std::uint64_t bytes, bool want_direct);
};

// Whether this process may use io_uring (kernels without it, and containers' seccomp profiles, refuse).
[[nodiscard]] bool have_io_uring();

// All of `memory` to or from the file's beginning. `memory` begins on a page and is a multiple of 4096.
[[nodiscard]] Status transfer_by_ring(int fd, bool write, std::span<std::byte> memory, RawShape shape);
[[nodiscard]] Status transfer_by_threads(int fd, bool write, std::span<std::byte> memory, RawShape shape);

}  // namespace wsync
