// The seam between the store and the disk: every operation whose order a crash can reveal goes through it.
//
// Paths are absolute or relative to the working directory. Nothing is durable before sync: of a file for its bytes, of its
// directory for its name. Errors name the path. The real one is thread-safe; the doubles of the tests record and fail.
#pragma once

#include "memory/region.hpp"
#include "transport/transport.hpp"

#include <optional>
#include <vector>

namespace wsync {

// A range of a file, or rows of one, and the memory they come from or go to, where they lie packed.
struct FileRange {
    std::uint64_t offset = 0;             // in the file, of the first row
    const Region* memory = nullptr;       // host memory; borrowed for the call
    std::uint64_t memory_offset = 0;
    std::uint64_t bytes = 0;              // of all rows
    std::uint64_t rows = 1;               // of bytes / rows each, their beginnings in the file `stride` bytes apart
    std::uint64_t stride = 0;
};

struct DirectoryEntry {
    std::string name;
    bool directory = false;
    std::uint64_t bytes = 0;
    std::uint64_t allocated_bytes = 0;    // on disk; what overwriting it needs no new space for
};
struct DirectoryListing {
    std::vector<DirectoryEntry> entries;  // sorted by name
    std::uint64_t free_bytes = 0;         // of the file system, for this user
};

class FileSystem {
public:
    virtual ~FileSystem() = default;
    // `bytes`: a file of exactly that size, all of it allocated (a full disk or quota shows here); one that is there
    // keeps its bytes and is cut or extended. No bytes: a directory that was not there; its parent must be.
    [[nodiscard]] virtual Status create(const std::string& path, std::optional<std::uint64_t> bytes) = 0;
    // Writes the ranges inside the file, which keeps its size. The digest of each, taken from the bytes as they go.
    [[nodiscard]] virtual Result<std::vector<Digest>> write(const std::string& path, std::span<const FileRange> ranges) = 0;
    // Reads them; Error{corrupt} where the file ends before.
    [[nodiscard]] virtual Result<std::vector<Digest>> read(const std::string& path, std::span<const FileRange> ranges) = 0;
    [[nodiscard]] virtual Status sync(const std::string& path) = 0;
    // Replaces a file that is there, never a directory.
    [[nodiscard]] virtual Status rename(const std::string& from, const std::string& to) = 0;
    [[nodiscard]] virtual Status remove(const std::string& path) = 0;  // a file or an empty directory
    [[nodiscard]] virtual Result<DirectoryListing> list(const std::string& directory) = 0;
};

// The disk itself. `bulk` moves ranges of a megabyte and more (a file transport; borrowed, outlives it); null: plain
// calls do.
[[nodiscard]] std::unique_ptr<FileSystem> make_file_system(Transport* bulk);

// A small file whole; Error{corrupt} where it has more than `max_bytes`.
[[nodiscard]] Result<Bytes> read_small_file(FileSystem& files, const std::string& path, std::uint64_t max_bytes);
// Creates it, writes it and syncs it.
[[nodiscard]] Status write_small_file(FileSystem& files, const std::string& path, std::span<const std::byte> bytes);
// A directory with all in it; names that are gone already are no error.
[[nodiscard]] Status remove_tree(FileSystem& files, const std::string& directory);

}  // namespace wsync
