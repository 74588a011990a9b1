#include "store/version_writer.hpp"

#include "format/safetensors_index.hpp"
#include "store/retention.hpp"
#include "store/write_plan.hpp"
#include "verify/blocks.hpp"
#include "verify/mismatch.hpp"
#include "verify/version_digest.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace wsync {
namespace {

constexpr std::uint64_t kSlackBytes = 64 << 10;  // directories and rounding to blocks

std::string gigabytes(std::uint64_t bytes) { return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9); }

Region around(std::span<const std::byte> bytes) {
    Region region;
    region.address = const_cast<std::byte*>(bytes.data());  // only read: the region is not writable
    region.bytes = bytes.size();
    return region;
}

Status check_options(const WriteVersionOptions& options) {
    if (!is_version_name(options.version.name)) {
        return Error{Code::invalid_argument, fmt::format("\"{}\" is no name for weights: 1 to 128 of letters, digits and ._@+-, the first not a dot",
                                                         options.version.name)};
    }
    if (options.root.empty()) return Error{Code::invalid_argument, "no directory was given to write the version into"};
    if (options.shard_bytes == 0) return Error{Code::invalid_argument, "shard_bytes is 0"};
    std::set<std::string> names;
    for (const ExtraFile& extra : options.extra_files) {
        const bool ours = extra.name.starts_with("wsync.") || extra.name.ends_with(".safetensors") || extra.name == kSafetensorsIndexName;
        if (!is_plain_file_name(extra.name) || ours || !names.insert(extra.name).second) {
            return Error{Code::invalid_argument, fmt::format("\"{}\" can't be the name of an extra file", extra.name)};
        }
    }
    return {};
}

Status check_regions(const VersionContent& content) {
    const auto& wanted = content.placement->region_bytes;
    if (content.regions.size() < wanted.size()) {
        return Error{Code::invalid_argument, fmt::format("the placement has {} regions, {} were given", wanted.size(), content.regions.size())};
    }
    for (std::size_t r = 0; r < wanted.size(); ++r) {
        if (!content.regions[r].host_bytes() && wanted[r] > 0) {
            return Error{Code::unsupported, fmt::format("region {} is {} memory: copy it to the host first", r, name_of(content.regions[r].kind))};
        }
        if (content.regions[r].bytes < wanted[r]) {
            return Error{Code::invalid_argument, fmt::format("region {} has {} bytes, its placement {}", r, content.regions[r].bytes, wanted[r])};
        }
    }
    return {};
}

// One write of a version, from the first look at the disk to the rename.
class Writing {
public:
    Writing(FileSystem& files, const WriteVersionOptions& options, const VersionContent& content, const WritePlan& plan)
        : files_(files), options_(options), content_(content), plan_(plan), directory_(options.root + "/" + options.version.name) {
        digests_.first = plan.first_digest;
        digests_.digests.resize(plan.first_digest.back());
    }

    Result<WrittenVersion> run();

private:
    Status make_directories();
    Status check_space(const Workspace& workspace) const;
    Status write_weights(const std::string& path);
    Status write_file(const std::string& path, std::size_t file);
    Status write_side_file(const std::string& path, const std::string& name, std::span<const std::byte> bytes);
    Status write_rest(const std::string& path);
    Result<WrittenVersion> commit(Workspace workspace);
    std::uint64_t side_bytes() const;
    bool wants(const std::string& name) const;

    FileSystem& files_;
    const WriteVersionOptions& options_;
    const VersionContent& content_;
    const WritePlan& plan_;
    std::string directory_;                  // ROOT/NAME
    BlockDigests digests_;
    VersionManifest manifest_;
};

// A new directory's name is durable only when its parent has been synced.
Status Writing::make_directories() {
    const auto make = [&](const std::string& path, const std::string& parent) -> Status {
        const auto listing = files_.list(path);
        if (listing) return {};
        if (listing.error().code != Code::not_found) return listing.error();
        WSYNC_TRY_VOID(files_.create(path, std::nullopt));
        return files_.sync(parent);
    };
    const auto slash = options_.root.find_last_not_of('/') == std::string::npos ? std::string::npos : options_.root.rfind('/', options_.root.find_last_not_of('/'));
    const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : options_.root.substr(0, slash);
    WSYNC_TRY_VOID(make(options_.root, parent));
    return make(directory_, options_.root);
}

bool Writing::wants(const std::string& name) const {
    return name == kDigestsFile || (name == kSafetensorsIndexName && !plan_.files.index.empty()) ||
           std::any_of(plan_.files.files.begin(), plan_.files.files.end(), [&](const CheckpointFile& f) { return f.name == name; }) ||
           std::any_of(options_.extra_files.begin(), options_.extra_files.end(), [&](const ExtraFile& f) { return f.name == name; });
}

std::uint64_t Writing::side_bytes() const {
    std::uint64_t bytes = plan_.files.index.size() + sizeof(Digest) * digests_.digests.size() + 8 * digests_.first.size() + plan_.manifest.size() + kSlackBytes;
    for (const ExtraFile& extra : options_.extra_files) bytes += extra.bytes.size();
    return bytes;
}

Status Writing::check_space(const Workspace& workspace) const {
    WSYNC_TRY(const auto listing, files_.list(workspace.path));
    std::uint64_t need = side_bytes();
    for (const CheckpointFile& file : plan_.files.files) {
        std::uint64_t allocated = 0;
        for (const DirectoryEntry& entry : listing.entries)
            if (entry.name == file.name) allocated = entry.allocated_bytes;
        if (file.bytes > allocated) need += file.bytes - allocated;
    }
    if (need <= listing.free_bytes) return {};
    return Error{Code::resource_exhausted, fmt::format("the version needs {} ({} bytes) more in {}, {} ({} bytes) are free: free space, keep fewer versions or write elsewhere",
                                                       gigabytes(need), need, directory_, gigabytes(listing.free_bytes), listing.free_bytes)};
}

Status Writing::write_file(const std::string& path, std::size_t file_number) {
    const CheckpointFile& file = plan_.files.files[file_number];
    const auto& blocks = plan_.blocks[file_number];
    const Region header = around(file.header);
    std::vector<FileRange> ranges;
    ranges.reserve(blocks.size() + 1);
    ranges.push_back({0, &header, 0, file.header.size()});
    for (const WritePlan::Block& b : blocks) ranges.push_back({b.offset, &content_.regions[b.region], b.region_offset, b.bytes});
    const std::string name = path + "/" + file.name;
    WSYNC_TRY(const auto written, files_.write(name, ranges));
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const WritePlan::Block& b = blocks[i];
        digests_.digests[b.digest] = written[i + 1];
        if (content_.expected == nullptr || content_.expected->digests[b.digest] == written[i + 1]) continue;
        const Shard& shard = content_.layout->shards_of(0)[b.shard];
        const TensorSpec& tensor = content_.layout->manifest()[shard.tensor];
        return mismatch_error({tensor.name, BlockCut(shard.box, tensor.dtype).block(b.digest - plan_.first_digest[b.shard]), b.offset, b.bytes})
            .within(fmt::format("writing {}: the slab was changed after it had been digested", name));
    }
    manifest_.files.push_back({file.name, file.bytes, written.front()});
    return files_.sync(name);
}

Status Writing::write_weights(const std::string& path) {
    // All of them allocated before the first byte of any.
    for (const CheckpointFile& file : plan_.files.files) WSYNC_TRY_VOID(files_.create(path + "/" + file.name, file.bytes));
    for (std::size_t i = 0; i < plan_.files.files.size(); ++i) WSYNC_TRY_VOID(write_file(path, i));
    return {};
}

Status Writing::write_side_file(const std::string& path, const std::string& name, std::span<const std::byte> bytes) {
    WSYNC_TRY_VOID(write_small_file(files_, path + "/" + name, bytes));
    manifest_.side_files.push_back({name, bytes.size(), digest_of(bytes)});
    return {};
}

Status Writing::write_rest(const std::string& path) {
    const Layout& layout = *content_.layout;
    WSYNC_TRY_VOID(write_side_file(path, std::string(kDigestsFile), encode_version_digests(plan_.manifest, digests_)));
    if (!plan_.files.index.empty()) WSYNC_TRY_VOID(write_side_file(path, std::string(kSafetensorsIndexName), as_bytes_of(plan_.files.index)));
    for (const ExtraFile& extra : options_.extra_files) WSYNC_TRY_VOID(write_side_file(path, extra.name, extra.bytes));

    manifest_.version = options_.version;
    manifest_.layout_digest = layout.digest();
    WSYNC_TRY(manifest_.content_digest, version_digest(layout, {&digests_, 1}));
    if (manifest_.version.digest == Digest{}) manifest_.version.digest = manifest_.content_digest;
    const std::string text = encode(manifest_);
    const std::string file = fmt::format("{}/{}", path, kVersionFile);
    WSYNC_TRY_VOID(write_small_file(files_, file + ".tmp", as_bytes_of(text)));
    WSYNC_TRY_VOID(files_.rename(file + ".tmp", file));
    return files_.sync(path);  // all names in it at once: nobody looks before the directory itself is renamed
}

Result<WrittenVersion> Writing::commit(Workspace workspace) {
    const VersionNumber number{options_.version.epoch, options_.version.number};
    WrittenVersion written;
    written.path = directory_ + "/" + directory_name(number);
    WSYNC_TRY_VOID(files_.rename(workspace.path, written.path));
    WSYNC_TRY_VOID(files_.sync(directory_).within(fmt::format("making {} durable; it is there, but a power cut may take it", written.path)));
    written.recycled = workspace.recycled;
    written.manifest = std::move(manifest_);
    for (const WeightsFile& f : written.manifest.files) written.bytes += f.bytes;
    for (const SideFile& f : written.manifest.side_files) written.bytes += f.bytes;
    return written;
}

Result<WrittenVersion> Writing::run() {
    WSYNC_TRY_VOID(make_directories());
    const VersionNumber number{options_.version.epoch, options_.version.number};
    WSYNC_TRY(const auto listing, files_.list(directory_));
    for (const DirectoryEntry& entry : listing.entries) {
        if (entry.name == directory_name(number)) {
            return Error{Code::invalid_argument, fmt::format("{}/{} is there already; a version is written once", directory_, entry.name)};
        }
    }
    const auto leftovers = !options_.recycle ? Leftovers::remove : options_.new_files ? Leftovers::leave : Leftovers::use_one;
    WSYNC_TRY(auto workspace, open_workspace(files_, directory_, number, leftovers, [this](const std::string& name) { return wants(name); }));
    const std::string path = workspace.path;
    Result<WrittenVersion> result = [&]() -> Result<WrittenVersion> {
        WSYNC_TRY_VOID(check_space(workspace));
        WSYNC_TRY_VOID(write_weights(path));
        WSYNC_TRY_VOID(write_rest(path));
        return commit(std::move(workspace));
    }();
    if (!result) {
        // Best effort: what stays, the next writer finds. Never after the rename: the path is another then.
        [[maybe_unused]] const Status cleaned = remove_tree(files_, path);
        return result;
    }
    auto notes = retire_versions(files_, directory_, options_.keep, options_.recycle);
    if (notes) {
        result->notes = *std::move(notes);
    } else {
        result->notes.push_back(fmt::format("old versions were not removed: {}", notes.error().to_string()));
    }
    return result;
}

}  // namespace

VersionWriter::VersionWriter(FileSystem& files) : files_(&files) {}
VersionWriter::~VersionWriter() = default;
VersionWriter::VersionWriter(VersionWriter&&) noexcept = default;
VersionWriter& VersionWriter::operator=(VersionWriter&&) noexcept = default;

Result<WrittenVersion> VersionWriter::write(const WriteVersionOptions& options, const VersionContent& content) {
    const auto write = [&]() -> Result<WrittenVersion> {
        if (content.layout == nullptr || content.placement == nullptr) return Error{Code::invalid_argument, "a version needs a layout and a placement"};
        WSYNC_TRY_VOID(check_options(options));
        WSYNC_TRY_VOID(check_regions(content));
        if (!fits(plan_.get(), *content.layout, *content.placement, options.metadata, options.shard_bytes)) {
            WSYNC_TRY(plan_, make_write_plan(*content.layout, *content.placement, options.metadata, options.shard_bytes));
        }
        if (content.expected != nullptr) WSYNC_TRY_VOID(check(*content.expected, *content.layout, 0));
        return Writing(*files_, options, content, *plan_).run();
    };
    return write().within(fmt::format("writing version {}.{} of {}", options.version.epoch, options.version.number, options.version.name));
}

Result<WrittenVersion> write_version(FileSystem& files, const WriteVersionOptions& options, const VersionContent& content) {
    return VersionWriter(files).write(options, content);
}

}  // namespace wsync
