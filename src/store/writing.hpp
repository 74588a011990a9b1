// The steps of writing a version, which one rank's writer and that of several have in common.
#pragma once

#include "store/version_writer.hpp"
#include "store/write_plan.hpp"

namespace wsync {

// Names, sizes and regions that can't be right. Errors as VersionWriter::write's.
[[nodiscard]] Status check_version_options(const WriteVersionOptions& options);
[[nodiscard]] Status check_version_content(const VersionContent& content);

// One write of a version, or of one rank's part of it. Borrows what it is made of.
class Writing {
public:
    Writing(FileSystem& files, const WriteVersionOptions& options, const WritePlan& plan);

    // ROOT/NAME, and what readers will see in it.
    [[nodiscard]] const std::string& directory() const { return directory_; }
    [[nodiscard]] std::string path() const;
    // Makes ROOT and ROOT/NAME, durably; others may do so at the same time.
    [[nodiscard]] Status make_directories();
    // Error{invalid_argument}: readers see the version already.
    [[nodiscard]] Status refuse_existing();
    // Whether a file of a workspace is one of the version's own.
    [[nodiscard]] bool wants(const std::string& name) const;
    // Free space, then all files of weights, allocated before the first byte of any; they may be there already.
    [[nodiscard]] Status make_files(const std::string& workspace);
    // The rank's blocks and headers, durable. The digests of all its shards' blocks, also of those that others write.
    [[nodiscard]] Result<BlockDigests> write_weights(const std::string& workspace, const VersionContent& content);
    // Everything else, wsync.json last; all names durable. `digests` are of plan.boxes.
    [[nodiscard]] Result<VersionManifest> write_rest(const std::string& workspace, const Version& version, const BlockDigests& digests);
    // From here on readers see it.
    [[nodiscard]] Status rename_into_place(const std::string& workspace);

private:
    Status check_space(const DirectoryListing& listing) const;
    Status write_file(const std::string& workspace, std::size_t file, const VersionContent& content, BlockDigests& digests);
    Status check_block(const std::string& file, const WritePlan::Block& block, const VersionContent& content, const Digest& found) const;
    Status write_side_file(const std::string& workspace, const std::string& name, std::span<const std::byte> bytes, VersionManifest& manifest);
    std::uint64_t side_bytes() const;

    FileSystem& files_;
    const WriteVersionOptions& options_;
    const WritePlan& plan_;
    std::string directory_;
};

}  // namespace wsync
