// Safetensors on disk as a layout, a placement and file regions: what a plan and a transport need to read them.
#pragma once

#include "format/safetensors.hpp"
#include "store/file_system.hpp"
#include "wsync/model/placement.hpp"

namespace wsync {

// What tells one state of a file from another without reading it.
struct FileStamp {
    std::uint64_t device = 0, inode = 0, bytes = 0;
    std::int64_t written_ns = 0, changed_ns = 0;  // mtime, ctime
    friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

// One rank holds every tensor whole. The regions are the files, open for reading; they own their descriptors.
struct Checkpoint {
    Layout layout;
    Placement placement;                  // region i is files[i]; offsets count from the file's beginning
    std::vector<Region> regions;
    std::vector<std::string> files;       // their paths
    std::vector<FileStamp> stamps;        // of each, before anything of it was read
    SafetensorsMetadata metadata;         // of the first file
};

// A safetensors file, or a directory with model.safetensors.index.json (files that it does not name are ignored) or with
// exactly one *.safetensors. Tensors in the order of the files and, within, of the offsets. A directory with several
// files and no index is Error{invalid_argument}: one of them may be left over from another model. No bytes of tensors are
// read, and nothing vouches for them.
[[nodiscard]] Result<Checkpoint> open_checkpoint(FileSystem& files, const std::string& path);

// After the last read: whether all that was read is of one state of the files. Error{corrupt} names the first that was cut,
// written or replaced since it was opened, and its sizes. Who writes through a map that was dirty before is not seen.
[[nodiscard]] Status check_unchanged(const Checkpoint& checkpoint);

// One open file and the bytes of its header, read but not parsed; the digest is of all of them.
struct HeaderBytes {
    Region region;
    Bytes bytes;
    Digest digest{};
};
[[nodiscard]] Result<HeaderBytes> read_safetensors_header(FileSystem& files, const std::string& path);

}  // namespace wsync
