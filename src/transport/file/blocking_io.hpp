// A chunk's bytes moved by plain calls, and how the kernel's answers are read.
#pragma once

#include "transport/file/chunk_planner.hpp"

namespace wsync::file_transport {

// The open file that a channel moves bytes to and from.
struct OpenFile {
    std::string path;
    int buffered_fd = -1;
    int direct_fd = -1;               // -1: none
    std::uint64_t bytes = 0;          // that the file must have
};

// What a request that should have moved bytes up to `wanted` says with `result` (bytes or -errno) after `moved` of them.
enum class Outcome : std::uint8_t {
    complete,   // all that is wanted is there
    retry,      // the rest must be asked for again
    refused,    // O_DIRECT does not work here: through the page cache instead
    failed,     // see error_of
};
[[nodiscard]] Outcome outcome_of(std::int64_t result, std::uint64_t moved, std::uint64_t wanted, bool direct) noexcept;
// Error{corrupt} for a file that ends early, errno's code otherwise; names the file, the offset and the remedy.
[[nodiscard]] Error error_of(std::int64_t result, Op op, const OpenFile& file, std::uint64_t offset);

// Whether the page cache holds the whole range. False where the kernel will not say.
[[nodiscard]] bool resident(int fd, std::uint64_t offset, std::uint64_t bytes);

// Reads the flat range completely. Error{corrupt}: the file ends before.
[[nodiscard]] Status read_fully(const OpenFile& file, int fd, std::byte* to, std::uint64_t bytes, std::uint64_t offset);
[[nodiscard]] Status write_fully(const OpenFile& file, int fd, const std::byte* from, std::uint64_t bytes, std::uint64_t offset);

// A small buffer that stays in a processor's cache, kWindowBytes long.
constexpr std::uint64_t kWindowBytes = 1 << 20;
// Moves the chunk through the page cache and settles or fails its pieces as it goes. Reads go through `window` where it is
// not null: the kernel's copy stays in cache, and the one into place stores past it and digests on the way.
void run_buffered(const Chunk& chunk, const OpenFile& file, const KernelSet& kernels, JobTable& jobs, std::byte* window);
// From the slot, or from where the kernel put it, into the pieces' memory; digests on the way; settles them.
void deliver(const Chunk& chunk, const KernelSet& kernels, JobTable& jobs);
// Into the slot, with digests. Writes only; settles nothing.
void collect(const Chunk& chunk, const KernelSet& kernels, JobTable& jobs);

}  // namespace wsync::file_transport
