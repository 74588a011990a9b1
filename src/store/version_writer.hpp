// A version goes to disk: whole and durable when write_version returns, never seen before it is.
//
// Into a directory of its own (.tmp-...): files preallocated, bytes by direct requests straight from the slab with their
// digests on the way, each file synced, wsync.json last by rename, then the directory renamed to vEPOCH.NUMBER and its
// parent synced. A crash at any point leaves the versions that were there and a .tmp- directory that the next writer
// removes or uses again.
#pragma once

#include "store/checkpoint_files.hpp"
#include "store/file_system.hpp"
#include "store/version_manifest.hpp"
#include "wsync/model/placement.hpp"

#include <memory>

namespace wsync {

struct ExtraFile {
    std::string name;                     // a plain file name: "config.json"
    Bytes bytes;
};

struct WriteVersionOptions {
    std::string root;                     // holds NAME/vEPOCH.NUMBER; made where its parent is there
    Version version;                      // a digest of zeros: the directory's own content digest is it
    std::uint64_t shard_bytes = kDefaultShardBytes;
    SafetensorsMetadata metadata{{"format", "pt"}};
    std::vector<ExtraFile> extra_files;
    unsigned keep = 2;                    // newest versions that stay, this one included; 0: all. Pinned ones stay besides
    // Overwrite the files of a retired version in place: half again to twice as fast. One retired version stays on disk
    // for it. Readers with a pin are safe; leave it off where others map the files.
    bool recycle = false;
    bool new_files = false;               // with recycle: new files for this version all the same; the retired one stays aside
};

// The weights that one rank holds, in host memory; Coverage::full over all ranks.
struct VersionContent {
    const Layout* layout = nullptr;
    const Placement* placement = nullptr;
    std::span<const Region> regions;
    const BlockDigests* expected = nullptr;  // what the bytes must digest to; null: they are what they are
    std::uint32_t rank = 0;
};

struct WrittenVersion {
    std::string path;
    VersionManifest manifest;
    std::uint64_t bytes = 0;              // of all files
    bool recycled = false;
    std::vector<std::string> notes;       // e.g. which version was kept because somebody reads it
};

// Writes version after version, all of one rank. What does not change between them (how the tensors are cut into files, where each block
// goes, that all this is right) is worked out once and kept for the next version of the same layout and placement: with
// 20,000 tensors it costs as much as a tenth of the write. One thread at a time.
class VersionWriter {
public:
    explicit VersionWriter(FileSystem& files);  // borrowed; outlives it
    ~VersionWriter();
    VersionWriter(VersionWriter&&) noexcept;
    VersionWriter& operator=(VersionWriter&&) noexcept;

    // Error{resource_exhausted}: need, free and path, before the first byte; {corrupt}: the bytes are not what `expected`
    // says, naming tensor and block; {invalid_argument}: the version is there already. An Error after the point of no
    // return, the rename, says that the version is there but may not survive a power cut.
    [[nodiscard]] Result<WrittenVersion> write(const WriteVersionOptions& options, const VersionContent& content);

private:
    FileSystem* files_;
    std::shared_ptr<const struct WritePlan> plan_;
};

// One version, as VersionWriter::write.
[[nodiscard]] Result<WrittenVersion> write_version(FileSystem& files, const WriteVersionOptions& options, const VersionContent& content);

}  // namespace wsync
