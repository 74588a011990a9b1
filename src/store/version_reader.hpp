// Versions on disk, as readers see them: whole ones only, pinned while they are open.
#pragma once

#include "store/checkpoint.hpp"
#include "store/pin.hpp"
#include "store/version_manifest.hpp"
#include "store/version_path.hpp"

#include <functional>
#include <memory>

namespace wsync {

struct StoredVersion {
    std::string path;
    VersionManifest manifest;
    Checkpoint checkpoint;                // in the publisher's order of tensors
    std::shared_ptr<const Layout> boxes;  // of the same tensors, as those who wrote them held them: one rank has them all
    std::shared_ptr<const Placement> tensors;  // of each shard of boxes: where its whole tensor begins
    BlockDigests digests;                 // of boxes, rank 0
    Pin pin;                              // neither removed nor overwritten while this lives
};

// Opens version after version. Headers and tensor lists that are byte for byte those of the version before are not parsed
// again: with 20,000 tensors that costs as much as a third of a warm read. One thread at a time.
class VersionReader {
public:
    explicit VersionReader(FileSystem& files);  // borrowed; outlives it
    ~VersionReader();
    VersionReader(VersionReader&&) noexcept;
    VersionReader& operator=(VersionReader&&) noexcept;

    // Proves all but the tensors' bytes: manifest, sizes, headers, side files, that they agree. Error{not_found}: there
    // is no version; {unavailable}: it is being recycled; {corrupt} names the file and what is wrong with it.
    [[nodiscard]] Result<StoredVersion> open(const std::string& path);

private:
    FileSystem* files_;
    std::shared_ptr<const struct KnownTensors> known_;
};

// One version, as VersionReader::open.
[[nodiscard]] Result<StoredVersion> open_version(FileSystem& files, const std::string& path);

struct VersionEntry {
    VersionNumber number;
    std::string path;
    Version version;
    std::uint64_t bytes = 0;              // of all its files
};
// Oldest first. Directories that hold no readable manifest of their own name are passed over. An empty list where the
// name is not there.
[[nodiscard]] Result<std::vector<VersionEntry>> list_versions(FileSystem& files, const std::string& root, const std::string& name);
// Opens the newest. Error{not_found}: there is none.
[[nodiscard]] Result<StoredVersion> open_latest_version(FileSystem& files, const std::string& root, const std::string& name);

struct VerifyOptions {
    std::uint64_t buffer_bytes = 32 << 20;
    std::function<void(std::uint64_t done, std::uint64_t total)> progress;  // may be null
};
struct VerifiedVersion {
    Version version;
    std::uint64_t bytes = 0, blocks = 0;
};
// Reads every byte and compares it with the digests. Error{corrupt} names the file, the tensor and the block.
[[nodiscard]] Result<VerifiedVersion> verify_version(FileSystem& files, const std::string& path, const VerifyOptions& options = {});

}  // namespace wsync
