#include "store/group_writer.hpp"

#include "store/version_part.hpp"
#include "store/writing.hpp"
#include "verify/version_digest.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <time.h>

namespace wsync {
namespace {

constexpr auto kJoinTime = std::chrono::seconds(10);

void pause_a_moment() {
    const timespec moment{0, 1'000'000};
    ::nanosleep(&moment, nullptr);
}

bool is_there(FileSystem& files, const std::string& directory, const std::string& name) {
    const auto listing = files.list(directory);
    return listing && std::any_of(listing->entries.begin(), listing->entries.end(), [&](const DirectoryEntry& entry) { return entry.name == name; });
}

Status remove_if_there(FileSystem& files, const std::string& path) {
    Status removed = files.remove(path);
    if (!removed && removed.error().code == Code::not_found) return {};
    return removed;
}

std::string label(const Version& version) { return fmt::format("version {}.{} of {}", version.epoch, version.number, version.name); }

}  // namespace

GroupVersionWriter::GroupVersionWriter(FileSystem& files, std::string group) : files_(files), group_(std::move(group)) {}
GroupVersionWriter::~GroupVersionWriter() = default;

// After a write that failed.
void GroupVersionWriter::give_up() {
    if (!workspace_) return;
    const std::string path = workspace_->path;
    workspace_.reset();
    const auto last = Pin::try_exclusive(path);
    if (!last || !*last) return;  // others are at it
    const auto listing = files_.list(path);
    if (!listing || std::any_of(listing->entries.begin(), listing->entries.end(), [](const auto& entry) { return entry.name.starts_with("wsync.part-"); })) return;
    // Under another name first: who is about to join makes a new one. What stays, the next writer finds.
    const std::string gone = fmt::format("{}-left-{}", path, plan_->rank);
    if (files_.rename(path, gone)) [[maybe_unused]] const Status cleaned = remove_tree(files_, gone);
}

Result<WrittenPart> GroupVersionWriter::write(const WriteVersionOptions& options, const VersionContent& content) {
    const auto write = [&]() -> Result<WrittenPart> {
        WSYNC_TRY_VOID(check_version_options(options));
        WSYNC_TRY_VOID(check_version_content(content));
        if (group_.empty() || group_.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos) {
            return Error{Code::invalid_argument, fmt::format("\"{}\" is no name for a group of ranks: letters, digits and -", group_)};
        }
        if (!fits(plan_.get(), *content.layout, content.rank, *content.placement, options.metadata, options.shard_bytes)) {
            WSYNC_TRY(plan_, make_write_plan(*content.layout, content.rank, *content.placement, options.metadata, options.shard_bytes));
        }
        if (content.expected != nullptr) WSYNC_TRY_VOID(check(*content.expected, *content.layout, content.rank));
        auto written = write_part(options, content);
        if (!written) give_up();
        return written;
    };
    return write().within(fmt::format("writing rank {}'s part of {}", content.rank, label(options.version)));
}

Result<WrittenPart> GroupVersionWriter::write_part(const WriteVersionOptions& options, const VersionContent& content) {
    const VersionNumber number{options.version.epoch, options.version.number};
    Writing writing(files_, options, *plan_);
    WSYNC_TRY_VOID(writing.make_directories());
    WSYNC_TRY_VOID(writing.refuse_existing());
    const std::string path = shared_workspace_path(writing.directory(), number, group_);
    if (!workspace_ || workspace_->path != path) {
        workspace_.reset();
        const auto leftovers = !options.recycle ? Leftovers::remove : options.new_files ? Leftovers::leave : Leftovers::use_one;
        WSYNC_TRY(workspace_, open_shared_workspace(files_, writing.directory(), number, group_, leftovers,
                                                    [&](const std::string& name) { return writing.wants(name); }, kJoinTime));
    }
    options_ = options;
    layout_ = content.layout;
    const std::string part_path = path + "/" + part_name(content.rank);
    WSYNC_TRY_VOID(remove_if_there(files_, part_path));  // of a try that failed
    WSYNC_TRY_VOID(writing.make_files(path));
    VersionPart part{options.version, content.rank, content.layout->ranks(), content.layout->digest(), plan_->files_digest, {}};
    WSYNC_TRY(part.blocks, writing.write_weights(path, content));
    WSYNC_TRY_VOID(write_small_file(files_, part_path + ".tmp", encode(part)));
    WSYNC_TRY_VOID(files_.rename(part_path + ".tmp", part_path));
    WrittenPart written{writing.path(), 0, workspace_->recycled};
    for (const auto& blocks : plan_->blocks)
        for (const auto& block : blocks) written.bytes += block.range.bytes;
    return written;
}

Result<std::vector<BlockDigests>> GroupVersionWriter::read_parts(const std::string& workspace, std::span<const Digest> lists, Deadline deadline) {
    const std::uint32_t ranks = layout_->ranks();
    if (!lists.empty() && lists.size() != ranks) return Error{Code::invalid_argument, fmt::format("{} lists of digests were given for {} ranks", lists.size(), ranks)};
    std::vector<BlockDigests> by_rank;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
        const std::string path = workspace + "/" + part_name(rank);
        auto bytes = read_small_file(files_, path, kMaxVersionPartBytes);
        while (!bytes && bytes.error().code == Code::not_found && !deadline.expired()) {
            pause_a_moment();  // a network file system may show it late
            bytes = read_small_file(files_, path, kMaxVersionPartBytes);
        }
        if (!bytes && bytes.error().code == Code::not_found) return Error{Code::unavailable, fmt::format("rank {} has not written its part: {} is missing", rank, path)};
        if (!bytes) return std::move(bytes).error();
        WSYNC_TRY(auto part, decode_version_part(*bytes, path));
        Version own = options_.version, theirs = part.version;
        own.digest = theirs.digest = {};
        if (part.rank != rank || part.ranks != ranks || part.layout != layout_->digest() || own != theirs) {
            return Error{Code::invalid_argument, fmt::format("{} is rank {}'s of {} of {} with step {}, not rank {}'s of {} of {} with step {}", path, part.rank, part.ranks,
                                                             label(theirs), theirs.step, rank, ranks, label(own), own.step)};
        }
        if (part.files != plan_->files_digest) {
            return Error{Code::invalid_argument, fmt::format("rank {} cuts the tensors into other files than rank {}: all ranks need the same metadata and shard_bytes", rank, plan_->rank)};
        }
        WSYNC_TRY_VOID(check(part.blocks, *layout_, rank).within("reading " + path));
        if (!lists.empty() && digest_of(encode(part.blocks)) != lists[rank]) {
            return Error{Code::corrupt, fmt::format("{} holds other digests than rank {} published", path, rank)};
        }
        by_rank.push_back(std::move(part.blocks));
    }
    return by_rank;
}

// Each distinct box's digests, by its first holder.
Result<BlockDigests> GroupVersionWriter::gather_boxes(std::span<const BlockDigests> by_rank) const {
    WSYNC_TRY_VOID(check_replicas(*layout_, by_rank));
    BlockDigests boxes;
    boxes.first.push_back(0);
    for (const std::uint32_t holder : plan_->first_holder) {
        const std::uint32_t rank = layout_->shards()[holder].rank;
        const std::size_t local = holder - layout_->first_shard_of(rank);
        const BlockDigests& held = by_rank[rank];
        boxes.digests.insert(boxes.digests.end(), held.digests.begin() + static_cast<std::ptrdiff_t>(held.first[local]),
                             held.digests.begin() + static_cast<std::ptrdiff_t>(held.first[local + 1]));
        boxes.first.push_back(boxes.digests.size());
    }
    return boxes;
}

// Everything up to the rename; done again from the beginning where somebody died in it.
Status GroupVersionWriter::finish(const std::string& workspace, const Version& version, std::span<const Digest> lists, Deadline deadline) {
    WSYNC_TRY(const auto listing, files_.list(workspace));
    for (const CheckpointFile& file : plan_->files.files) {
        const auto entry = std::find_if(listing.entries.begin(), listing.entries.end(), [&](const DirectoryEntry& e) { return e.name == file.name; });
        if (entry == listing.entries.end() || entry->bytes != file.bytes) {
            return Error{Code::corrupt, fmt::format("{}/{} has {} bytes, not {}: somebody changed it", workspace, file.name,
                                                    entry == listing.entries.end() ? 0 : entry->bytes, file.bytes)};
        }
    }
    WSYNC_TRY(const auto by_rank, read_parts(workspace, lists, deadline));
    WSYNC_TRY(const auto digests, gather_boxes(by_rank));
    Writing writing(files_, options_, *plan_);
    WSYNC_TRY([[maybe_unused]] const auto manifest, writing.write_rest(workspace, version, digests));
    return {};
}

Result<CommittedVersion> GroupVersionWriter::commit(const Digest& digest, std::span<const Digest> lists, Deadline deadline) {
    if (!workspace_) return Error{Code::invalid_argument, "this rank has written nothing that could be made visible"};
    const VersionNumber number{options_.version.epoch, options_.version.number};
    Writing writing(files_, options_, *plan_);
    const std::string workspace = workspace_->path;
    const auto make_visible = [&]() -> Result<CommittedVersion> {
        const auto done_elsewhere = [&](const Error& error) -> Result<CommittedVersion> {
            if (error.code == Code::not_found && is_there(files_, writing.directory(), directory_name(number))) return CommittedVersion{writing.path(), false};
            return error;
        };
        std::optional<Pin> alone;
        while (!alone) {
            auto locked = Pin::try_exclusive(workspace, kCommitLockFile);
            if (!locked) return done_elsewhere(locked.error());
            alone = *std::move(locked);
            if (alone) break;
            if (deadline.expired()) return Error{Code::timed_out, fmt::format("another rank has been making {} visible until the deadline", writing.path())};
            pause_a_moment();
        }
        Version version = options_.version;
        version.digest = digest;
        WSYNC_TRY_VOID(finish(workspace, version, lists, deadline));
        WSYNC_TRY(const auto listing, files_.list(workspace));
        const Status renamed = writing.rename_into_place(workspace);
        if (!renamed) return done_elsewhere(renamed.error());
        // What only its making needed. A crash before this leaves a few small files in a whole version.
        for (const DirectoryEntry& entry : listing.entries) {
            const bool of_making = entry.name == kCommitLockFile || entry.name.starts_with("wsync.part-");
            if (of_making) [[maybe_unused]] const Status removed = files_.remove(writing.path() + "/" + entry.name);
        }
        return CommittedVersion{writing.path(), true};
    };
    return make_visible().within(fmt::format("making {} visible", label(options_.version)));
}

}  // namespace wsync
