// What a file system can do for large I/O: its name, its device, and whether and how it takes O_DIRECT.
#pragma once

#include "transport/file/file_transport.hpp"

namespace wsync::file_transport {

struct FileSystemFacts {
    std::string name;            // "ext4", "tmpfs", "nfs"
    std::string device;
    bool memory = false;         // tmpfs, ramfs: no device behind it
    bool network = false;        // many buffered requests are better than few direct ones
};
// Of fstatfs alone; `device` stays empty.
[[nodiscard]] FileSystemFacts filesystem_kind(int fd);
// With the mount table's words.
[[nodiscard]] FileSystemFacts filesystem_of(int fd);

// How O_DIRECT wants its requests.
struct DirectRules {
    bool possible = false;
    std::string reason;                      // why not
    std::uint64_t block_bytes = 4096;        // offsets and lengths: the file system's rule, but at least a page
    std::uint64_t memory_alignment = 512;    // of addresses
};
// Opens nothing; a first request may still be refused.
[[nodiscard]] DirectRules direct_rules(int fd, const FileSystemFacts& facts, DirectIo wanted);

// Whether this process may use io_uring: empty, or why not. Asks the kernel each time (a few microseconds).
[[nodiscard]] std::string io_uring_obstacle();

// Engine, directness and the reason, from the parts above (`obstacle`: io_uring's) and what the caller asked for.
// Error{unsupported} where he insists on what is not there.
[[nodiscard]] Result<FileEngineReport> choose_engine(const FileOptions& options, const FileSystemFacts& facts, const DirectRules& rules,
                                                     const std::string& obstacle);

}  // namespace wsync::file_transport
