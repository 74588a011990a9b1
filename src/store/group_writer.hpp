// A version of several ranks goes to disk: one checkpoint, each byte written once by one of its holders, no gather.
//
// All ranks write into one workspace (ROOT/NAME/.tmp-vEPOCH.NUMBER-GROUP), each its own boxes at their places in the whole
// tensors' files: files preallocated, bytes by direct requests where a rank has whole blocks to itself, the blocks that two
// ranks share through the page cache; each file synced; then the rank's part (wsync.part-RANK), which holds its digests.
// Once all have, any of them makes the version visible: side files, wsync.json by rename, then the directory renamed and
// its parent synced. A crash of any of them at any point leaves the versions that were there and a workspace that the next
// writer removes or uses again.
#pragma once

#include "store/retention.hpp"
#include "store/version_writer.hpp"

namespace wsync {

struct WrittenPart {
    std::string path;                     // of the version, once it is visible
    std::uint64_t bytes = 0;              // of weights, that this rank wrote
    bool recycled = false;                // this rank made the workspace of a retired version's
};
struct CommittedVersion {
    std::string path;
    bool here = false;                    // this call made it visible; false: another rank's did
};

// One rank's writer; keeps from version to version what does not change. One thread at a time.
class GroupVersionWriter {
public:
    // `group`: a name for the ranks' publication that no other has had, the same on all ranks; letters, digits and -.
    GroupVersionWriter(FileSystem& files, std::string group);  // `files` is borrowed; outlives it
    // A part that was written stays: the ranks that are left may still make the version visible.
    ~GroupVersionWriter();
    GroupVersionWriter(const GroupVersionWriter&) = delete;
    GroupVersionWriter& operator=(const GroupVersionWriter&) = delete;

    // The rank's part, durable, and nothing of it visible. All ranks give the same options. What it borrows of `content`
    // is its layout, until the next write. Errors as VersionWriter::write's; then the rank has no part, and nothing at all is
    // left if no other rank is at it or has one.
    [[nodiscard]] Result<WrittenPart> write(const WriteVersionOptions& options, const VersionContent& content);
    // Makes the version that was written last visible, with this digest (zeros: the content's own). Any rank may, several
    // at once too. `lists`: the digest of each rank's block digests, or empty. Error{unavailable} names a rank that has
    // not written its part; {corrupt}: replicas that differ, or a part that is not what `lists` says.
    [[nodiscard]] Result<CommittedVersion> commit(const Digest& digest, std::span<const Digest> lists, Deadline deadline);

private:
    void give_up();
    [[nodiscard]] Result<WrittenPart> write_part(const WriteVersionOptions& options, const VersionContent& content);
    [[nodiscard]] Result<std::vector<BlockDigests>> read_parts(const std::string& workspace, std::span<const Digest> lists, Deadline deadline);
    [[nodiscard]] Result<BlockDigests> gather_boxes(std::span<const BlockDigests> by_rank) const;
    [[nodiscard]] Status finish(const std::string& workspace, const Version& version, std::span<const Digest> lists, Deadline deadline);

    FileSystem& files_;
    std::string group_;
    std::shared_ptr<const struct WritePlan> plan_;
    WriteVersionOptions options_;         // of the last write
    const Layout* layout_ = nullptr;
    std::optional<Workspace> workspace_;  // its pin keeps others from removing what this rank has written
};

}  // namespace wsync
