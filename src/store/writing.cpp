#include "store/writing.hpp"

#include "format/safetensors_index.hpp"
#include "store/version_path.hpp"
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

std::string parent_of(const std::string& path) {
    const auto end = path.find_last_not_of('/');
    const auto slash = end == std::string::npos ? std::string::npos : path.rfind('/', end);
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Status check_version_options(const WriteVersionOptions& options) {
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

Status check_version_content(const VersionContent& content) {
    if (content.layout == nullptr || content.placement == nullptr) return Error{Code::invalid_argument, "a version needs a layout and a placement"};
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

Writing::Writing(FileSystem& files, const WriteVersionOptions& options, const WritePlan& plan)
    : files_(files), options_(options), plan_(plan), directory_(options.root + "/" + options.version.name) {}

std::string Writing::path() const { return directory_ + "/" + directory_name({options_.version.epoch, options_.version.number}); }

// A new directory's name is durable only when its parent has been synced.
Status Writing::make_directories() {
    const auto make = [&](const std::string& path, const std::string& parent) -> Status {
        const auto listing = files_.list(path);
        if (listing) return {};
        if (listing.error().code != Code::not_found) return listing.error();
        Status made = files_.create(path, std::nullopt);
        if (!made && !files_.list(path)) return made;  // else another rank was quicker
        return files_.sync(parent);
    };
    WSYNC_TRY_VOID(make(options_.root, parent_of(options_.root)));
    return make(directory_, options_.root);
}

Status Writing::refuse_existing() {
    const std::string name = directory_name({options_.version.epoch, options_.version.number});
    WSYNC_TRY(const auto listing, files_.list(directory_));
    const auto there = std::any_of(listing.entries.begin(), listing.entries.end(), [&](const DirectoryEntry& entry) { return entry.name == name; });
    if (!there) return {};
    return Error{Code::invalid_argument, fmt::format("{}/{} is there already; a version is written once", directory_, name)};
}

bool Writing::wants(const std::string& name) const {
    return name == kDigestsFile || (name == kSafetensorsIndexName && !plan_.files.index.empty()) ||
           std::any_of(plan_.files.files.begin(), plan_.files.files.end(), [&](const CheckpointFile& f) { return f.name == name; }) ||
           std::any_of(options_.extra_files.begin(), options_.extra_files.end(), [&](const ExtraFile& f) { return f.name == name; });
}

std::uint64_t Writing::side_bytes() const {
    // The digests stand in wsync.digests, and before that in the ranks' parts.
    const std::uint64_t digests = sizeof(Digest) * plan_.box_blocks + 8 * plan_.boxes.shards().size();
    std::uint64_t bytes = plan_.files.index.size() + plan_.tensors.size() + (plan_.ranks > 1 ? 2 : 1) * digests + kSlackBytes;
    for (const ExtraFile& extra : options_.extra_files) bytes += extra.bytes.size();
    return bytes;
}

Status Writing::check_space(const DirectoryListing& listing) const {
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

Status Writing::make_files(const std::string& workspace) {
    WSYNC_TRY(const auto listing, files_.list(workspace));
    WSYNC_TRY_VOID(check_space(listing));
    for (const CheckpointFile& file : plan_.files.files) {
        // One that has its size (which it gets with its last block) is left alone: another rank may have written into it.
        const bool made = std::any_of(listing.entries.begin(), listing.entries.end(),
                                      [&](const DirectoryEntry& entry) { return entry.name == file.name && entry.bytes == file.bytes; });
        if (!made) WSYNC_TRY_VOID(files_.create(workspace + "/" + file.name, file.bytes));
    }
    return {};
}

Status Writing::check_block(const std::string& file, const WritePlan::Block& block, const VersionContent& content, const Digest& found) const {
    if (content.expected == nullptr || content.expected->digests[block.digest] == found) return {};
    const Shard& shard = content.layout->shards_of(plan_.rank)[block.shard];
    const TensorSpec& tensor = content.layout->manifest()[shard.tensor];
    const BlockCut cut(shard.box, tensor.dtype);
    const std::uint64_t number = block.digest - plan_.first_digest[block.shard];
    return mismatch_error({tensor.name, cut.block(number), block.range.offset, cut.bytes(number)})
        .within(fmt::format("writing {}: the slab was changed after it had been digested", file));
}

Status Writing::write_file(const std::string& workspace, std::size_t number, const VersionContent& content, BlockDigests& digests) {
    const CheckpointFile& file = plan_.files.files[number];
    const auto& blocks = plan_.blocks[number];
    const Region header = around(file.header);
    std::vector<FileRange> ranges;
    ranges.reserve(blocks.size() + 1);
    if (plan_.headers[number]) ranges.push_back({0, &header, 0, file.header.size()});
    const std::size_t before = ranges.size();
    for (const WritePlan::Block& block : blocks) {
        ranges.push_back(block.range);
        ranges.back().memory = &content.regions[block.region];
    }
    if (ranges.empty()) return {};
    const std::string name = workspace + "/" + file.name;
    WSYNC_TRY(const auto written, files_.write(name, ranges));
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const WritePlan::Block& block = blocks[i];
        Digest found = written[before + i];
        if (!block.whole) {
            // In several ranges: its digest is taken from the memory, after the last of them has been written.
            const Shard& shard = content.layout->shards_of(plan_.rank)[block.shard];
            const BlockCut cut(shard.box, content.layout->manifest()[shard.tensor].dtype);
            const std::uint64_t b = block.digest - plan_.first_digest[block.shard];
            found = digest_of({content.regions[block.region].address + plan_.placement.places[block.shard].offset + cut.offset(b), cut.bytes(b)});
        }
        digests.digests[block.digest] = found;
        WSYNC_TRY_VOID(check_block(name, block, content, found));
    }
    return files_.sync(name);
}

Result<BlockDigests> Writing::write_weights(const std::string& workspace, const VersionContent& content) {
    BlockDigests digests;
    digests.first = plan_.first_digest;
    digests.digests.resize(plan_.first_digest.back());
    for (std::size_t i = 0; i < plan_.files.files.size(); ++i) WSYNC_TRY_VOID(write_file(workspace, i, content, digests));
    // What another rank writes of our boxes: its digests are compared with ours when the version is made visible.
    for (std::size_t s = 0; s < plan_.writes.size(); ++s) {
        if (plan_.writes[s]) continue;
        const Shard& shard = content.layout->shards_of(plan_.rank)[s];
        const BlockCut cut(shard.box, content.layout->manifest()[shard.tensor].dtype);
        const ShardPlace& place = plan_.placement.places[s];
        for (std::uint64_t b = 0; b < cut.count(); ++b) {
            const std::uint64_t i = plan_.first_digest[s] + b;
            digests.digests[i] = content.expected != nullptr ? content.expected->digests[i]
                                                             : digest_of({content.regions[place.region].address + place.offset + cut.offset(b), cut.bytes(b)});
        }
    }
    return digests;
}

Status Writing::write_side_file(const std::string& workspace, const std::string& name, std::span<const std::byte> bytes, VersionManifest& manifest) {
    WSYNC_TRY_VOID(write_small_file(files_, workspace + "/" + name, bytes));
    manifest.side_files.push_back({name, bytes.size(), digest_of(bytes)});
    return {};
}

Result<VersionManifest> Writing::write_rest(const std::string& workspace, const Version& version, const BlockDigests& digests) {
    VersionManifest manifest;
    for (const CheckpointFile& file : plan_.files.files) manifest.files.push_back({file.name, file.bytes, digest_of(file.header)});
    WSYNC_TRY_VOID(write_side_file(workspace, std::string(kDigestsFile), encode_version_digests(plan_.tensors, digests), manifest));
    if (!plan_.files.index.empty()) {
        WSYNC_TRY_VOID(write_side_file(workspace, std::string(kSafetensorsIndexName), as_bytes_of(plan_.files.index), manifest));
    }
    for (const ExtraFile& extra : options_.extra_files) WSYNC_TRY_VOID(write_side_file(workspace, extra.name, extra.bytes, manifest));

    manifest.version = version;
    manifest.layout_digest = plan_.boxes.digest();
    WSYNC_TRY(manifest.content_digest, version_digest(plan_.boxes, {&digests, 1}));
    if (manifest.version.digest == Digest{}) manifest.version.digest = manifest.content_digest;
    const std::string text = encode(manifest);
    const std::string file = fmt::format("{}/{}", workspace, kVersionFile);
    WSYNC_TRY_VOID(write_small_file(files_, file + ".tmp", as_bytes_of(text)));
    WSYNC_TRY_VOID(files_.rename(file + ".tmp", file));
    WSYNC_TRY_VOID(files_.sync(workspace));  // all names in it at once: nobody looks before the directory itself is renamed
    return manifest;
}

Status Writing::rename_into_place(const std::string& workspace) {
    WSYNC_TRY_VOID(files_.rename(workspace, path()));
    return files_.sync(directory_).within(fmt::format("making {} durable; it is there, but a power cut may take it", path()));
}

}  // namespace wsync
