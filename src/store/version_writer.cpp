#include "store/version_writer.hpp"

#include "format/safetensors_index.hpp"
#include "store/retention.hpp"
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

// One write of a version, from the first look at the disk to the rename.
class Writing {
public:
    Writing(FileSystem& files, const WriteVersionOptions& options, const VersionContent& content)
        : files_(files), options_(options), content_(content), directory_(options.root + "/" + options.version.name) {}

    Result<WrittenVersion> run();

private:
    Status check_content();
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
    std::string directory_;                  // ROOT/NAME
    CheckpointFiles plan_;
    std::vector<std::size_t> shard_of_;      // by tensor; the layout's shards plus one for an empty tensor
    BlockDigests digests_;
    VersionManifest manifest_;
};

Status Writing::check_content() {
    const Layout& layout = *content_.layout;
    if (layout.ranks() != 1) return Error{Code::unsupported, fmt::format("a version on disk is written from one rank; the layout has {}", layout.ranks())};
    WSYNC_TRY_VOID(check(layout, 0, *content_.placement));
    if (content_.regions.size() < content_.placement->region_bytes.size()) {
        return Error{Code::invalid_argument, fmt::format("the placement has {} regions, {} were given", content_.placement->region_bytes.size(),
                                                         content_.regions.size())};
    }
    for (std::size_t r = 0; r < content_.placement->region_bytes.size(); ++r) {
        if (!content_.regions[r].host_bytes() && content_.placement->region_bytes[r] > 0) {
            return Error{Code::unsupported, fmt::format("region {} is {} memory: copy it to the host first", r, name_of(content_.regions[r].kind))};
        }
        if (content_.regions[r].bytes < content_.placement->region_bytes[r]) {
            return Error{Code::invalid_argument, fmt::format("region {} has {} bytes, its placement {}", r, content_.regions[r].bytes,
                                                             content_.placement->region_bytes[r])};
        }
    }
    const auto shards = layout.shards_of(0);
    shard_of_.assign(layout.manifest().size(), shards.size());
    digests_.first.assign(1, 0);
    for (std::size_t s = 0; s < shards.size(); ++s) {
        const TensorSpec& tensor = layout.manifest()[shards[s].tensor];
        if (shards[s].box != Box::whole(tensor.shape)) {
            return Error{Code::unsupported, fmt::format("tensor \"{}\" is held in parts; a version on disk is written from whole tensors", tensor.name)};
        }
        shard_of_[shards[s].tensor] = s;
        digests_.first.push_back(digests_.first.back() + BlockCut(shards[s].box, tensor.dtype).count());
    }
    for (std::size_t t = 0; t < shard_of_.size(); ++t) {
        if (shard_of_[t] == shards.size() && layout.manifest()[t].bytes() > 0) {
            return Error{Code::invalid_argument, fmt::format("tensor \"{}\" is not held by the rank", layout.manifest()[t].name)};
        }
    }
    digests_.digests.resize(digests_.first.back());
    if (content_.expected != nullptr) WSYNC_TRY_VOID(check(*content_.expected, layout, 0));
    return {};
}

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
    return name == kDigestsFile || (name == kSafetensorsIndexName && !plan_.index.empty()) ||
           std::any_of(plan_.files.begin(), plan_.files.end(), [&](const CheckpointFile& f) { return f.name == name; }) ||
           std::any_of(options_.extra_files.begin(), options_.extra_files.end(), [&](const ExtraFile& f) { return f.name == name; });
}

std::uint64_t Writing::side_bytes() const {
    std::uint64_t bytes = plan_.index.size() + 16 * digests_.digests.size() + 64 * content_.layout->manifest().size() + kSlackBytes;
    for (const TensorSpec& tensor : content_.layout->manifest().tensors()) bytes += tensor.name.size() + 8 * tensor.shape.size();
    for (const ExtraFile& extra : options_.extra_files) bytes += extra.bytes.size();
    return bytes;
}

Status Writing::check_space(const Workspace& workspace) const {
    WSYNC_TRY(const auto listing, files_.list(workspace.path));
    std::uint64_t need = side_bytes();
    for (const CheckpointFile& file : plan_.files) {
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
    const CheckpointFile& file = plan_.files[file_number];
    const Layout& layout = *content_.layout;
    struct Origin {
        std::size_t shard;
        std::uint64_t block;
    };
    const Region header = around(file.header);
    std::vector<FileRange> ranges{{0, &header, 0, file.header.size()}};
    std::vector<Origin> origins{{}};
    for (const std::uint32_t t : file.tensors) {
        const std::size_t shard = shard_of_[t];
        if (shard == layout.shards_of(0).size()) continue;  // an empty tensor
        const BlockCut cut(layout.shards_of(0)[shard].box, layout.manifest()[t].dtype);
        const ShardPlace& place = content_.placement->places[shard];
        for (std::uint64_t b = 0; b < cut.count(); ++b) {
            ranges.push_back({plan_.places[t].offset + cut.offset(b), &content_.regions[place.region], place.offset + cut.offset(b), cut.bytes(b)});
            origins.push_back({shard, b});
        }
    }
    const std::string name = path + "/" + file.name;
    WSYNC_TRY(const auto written, files_.write(name, ranges));
    for (std::size_t i = 1; i < origins.size(); ++i) {
        const std::uint64_t index = digests_.first[origins[i].shard] + origins[i].block;
        digests_.digests[index] = written[i];
        if (content_.expected == nullptr || content_.expected->digests[index] == written[i]) continue;
        const Shard& shard = layout.shards_of(0)[origins[i].shard];
        const TensorSpec& tensor = layout.manifest()[shard.tensor];
        return mismatch_error({tensor.name, BlockCut(shard.box, tensor.dtype).block(origins[i].block), ranges[i].offset, ranges[i].bytes})
            .within(fmt::format("writing {}: the slab was changed after it had been digested", name));
    }
    manifest_.files.push_back({file.name, file.bytes, written.front()});
    return files_.sync(name);
}

Status Writing::write_weights(const std::string& path) {
    // All of them allocated before the first byte of any.
    for (const CheckpointFile& file : plan_.files) WSYNC_TRY_VOID(files_.create(path + "/" + file.name, file.bytes));
    for (std::size_t i = 0; i < plan_.files.size(); ++i) WSYNC_TRY_VOID(write_file(path, i));
    return {};
}

Status Writing::write_side_file(const std::string& path, const std::string& name, std::span<const std::byte> bytes) {
    WSYNC_TRY_VOID(write_small_file(files_, path + "/" + name, bytes));
    manifest_.side_files.push_back({name, bytes.size(), digest_of(bytes)});
    return {};
}

Status Writing::write_rest(const std::string& path) {
    const Layout& layout = *content_.layout;
    WSYNC_TRY_VOID(write_side_file(path, std::string(kDigestsFile), encode(VersionDigests{layout.manifest(), digests_})));
    if (!plan_.index.empty()) WSYNC_TRY_VOID(write_side_file(path, std::string(kSafetensorsIndexName), as_bytes_of(plan_.index)));
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
    WSYNC_TRY_VOID(check_options(options_));
    WSYNC_TRY_VOID(check_content());
    WSYNC_TRY(plan_, plan_checkpoint_files(content_.layout->manifest(), options_.metadata, options_.shard_bytes));
    WSYNC_TRY_VOID(make_directories());
    const VersionNumber number{options_.version.epoch, options_.version.number};
    WSYNC_TRY(const auto listing, files_.list(directory_));
    for (const DirectoryEntry& entry : listing.entries) {
        if (entry.name == directory_name(number)) {
            return Error{Code::invalid_argument, fmt::format("{}/{} is there already; a version is written once", directory_, entry.name)};
        }
    }
    WSYNC_TRY(auto workspace, open_workspace(files_, directory_, number, options_.recycle, [this](const std::string& name) { return wants(name); }));
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

Result<WrittenVersion> write_version(FileSystem& files, const WriteVersionOptions& options, const VersionContent& content) {
    if (content.layout == nullptr || content.placement == nullptr) return Error{Code::invalid_argument, "a version needs a layout and a placement"};
    return Writing(files, options, content).run().within(fmt::format("writing version {}.{} of {}", options.version.epoch, options.version.number,
                                                                     options.version.name));
}

}  // namespace wsync
