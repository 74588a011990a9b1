#include "store/version_reader.hpp"

#include "model/records.hpp"
#include "verify/version_digest.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <time.h>

namespace wsync {

// The tensors of a version, by the bytes that they were read from.
struct KnownTensors {
    Digest tensors_digest{};              // of the tensors' record
    std::vector<Digest> headers;          // of each file
    Layout layout, boxes;
    Placement placement, tensors;         // of layout; of the tensors that the boxes are of
    SafetensorsMetadata metadata;
};

namespace {

std::string_view text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

Result<VersionManifest> read_manifest(FileSystem& files, const std::string& path) {
    const std::string file = fmt::format("{}/{}", path, kVersionFile);
    auto text = read_small_file(files, file, kMaxVersionFileBytes);
    if (!text) {
        if (text.error().code != Code::not_found) return std::move(text).error();
        return Error{Code::not_found, fmt::format("{} holds no {}: it is no version of wsync's, or not a whole one", path, kVersionFile)};
    }
    return decode_version_manifest(text_of(*text), file);
}

Status check_side_files(FileSystem& files, const StoredVersion& stored, Bytes& digests) {
    for (const SideFile& side : stored.manifest.side_files) {
        const std::string path = stored.path + "/" + side.name;
        auto bytes = read_small_file(files, path, side.bytes);
        if (!bytes && bytes.error().code == Code::not_found) return Error{Code::corrupt, fmt::format("{} is missing", path)};
        if (!bytes) return std::move(bytes).error();
        if (bytes->size() != side.bytes || digest_of(*bytes) != side.digest) {
            return Error{Code::corrupt, fmt::format("{} is not what {} says: {} bytes for {}, digest {} for {}", path, kVersionFile, bytes->size(), side.bytes,
                                                    digest_of(*bytes).hex(), side.digest.hex())};
        }
        if (side.name == kDigestsFile) digests = *std::move(bytes);
    }
    return {};
}

// The publisher's tensors, each found in the files' headers with the same type and shape; nothing else is in them.
Result<std::shared_ptr<const KnownTensors>> place_tensors(const StoredVersion& stored, std::span<const HeaderBytes> headers,
                                                          std::span<const std::byte> tensors_record) {
    auto known = std::make_shared<KnownTensors>();
    known->tensors_digest = digest_of(tensors_record);
    WSYNC_TRY(known->boxes, decode_version_tensors(tensors_record, fmt::format("{}/{}", stored.path, kDigestsFile)));
    const Manifest& manifest = known->boxes.manifest();
    std::vector<std::optional<ShardPlace>> places(manifest.size());
    for (std::size_t f = 0; f < headers.size(); ++f) {
        WSYNC_TRY(const auto header, parse_safetensors_header(headers[f].bytes, headers[f].region.bytes, stored.checkpoint.files[f]));
        for (std::size_t t = 0; t < header.manifest.size(); ++t) {
            const auto found = manifest.find(header.manifest[t].name);
            if (!found || manifest[*found] != header.manifest[t] || places[*found]) {
                return Error{Code::corrupt, fmt::format("tensor \"{}\" in {} is not the one that {} knows", header.manifest[t].name, stored.checkpoint.files[f],
                                                        kDigestsFile)};
            }
            places[*found] = ShardPlace{static_cast<std::uint32_t>(f), header.header_bytes + header.begins[t]};
        }
        if (f == 0) known->metadata = header.metadata;
        known->headers.push_back(headers[f].digest);
        known->placement.region_bytes.push_back(headers[f].region.bytes);
    }
    for (std::size_t t = 0; t < places.size(); ++t) {
        if (!places[t]) return Error{Code::corrupt, fmt::format("tensor \"{}\" is in no file of {}", manifest[t].name, stored.path)};
    }
    WSYNC_TRY(known->layout, Layout::replicated(manifest));
    for (const Shard& shard : known->layout.shards_of(0)) known->placement.places.push_back(*places[shard.tensor]);
    for (const Shard& shard : known->boxes.shards_of(0)) known->tensors.places.push_back(*places[shard.tensor]);
    known->tensors.region_bytes = known->placement.region_bytes;
    return std::shared_ptr<const KnownTensors>(std::move(known));
}

bool fits(const KnownTensors* known, std::span<const HeaderBytes> headers, std::span<const std::byte> tensors_record) {
    if (known == nullptr || known->headers.size() != headers.size() || known->tensors_digest != digest_of(tensors_record)) return false;
    for (std::size_t f = 0; f < headers.size(); ++f) {
        if (known->headers[f] != headers[f].digest || known->placement.region_bytes[f] != headers[f].region.bytes) return false;
    }
    return true;
}

Status check_digests(const StoredVersion& stored) {
    const VersionManifest& m = stored.manifest;
    const std::string file = fmt::format("{}/{}", stored.path, kVersionFile);
    if (stored.boxes->digest() != m.layout_digest) return Error{Code::corrupt, fmt::format("{}: the layout's digest is another", file)};
    WSYNC_TRY_VOID(check(stored.digests, *stored.boxes, 0).within(fmt::format("reading {}/{}", stored.path, kDigestsFile)));
    WSYNC_TRY(const auto content, version_digest(*stored.boxes, {&stored.digests, 1}));
    if (content != m.content_digest) return Error{Code::corrupt, fmt::format("{}: the content's digest is another", file)};
    return {};
}

// Between looking and locking a publisher may retire a version; the next look finds a newer one.
void pause_a_moment() {
    const timespec moment{0, 1'000'000};
    ::nanosleep(&moment, nullptr);
}

}  // namespace

VersionReader::VersionReader(FileSystem& files) : files_(&files) {}
VersionReader::~VersionReader() = default;
VersionReader::VersionReader(VersionReader&&) noexcept = default;
VersionReader& VersionReader::operator=(VersionReader&&) noexcept = default;

Result<StoredVersion> VersionReader::open(const std::string& path) {
    WSYNC_TRY(auto pin, Pin::shared(path));
    StoredVersion stored{path, {}, {}, {}, {}, {}, std::move(pin)};
    WSYNC_TRY(stored.manifest, read_manifest(*files_, path));
    Bytes digest_bytes;
    WSYNC_TRY_VOID(check_side_files(*files_, stored, digest_bytes));
    WSYNC_TRY(const auto parts, split_version_digests(digest_bytes, fmt::format("{}/{}", path, kDigestsFile)));
    WSYNC_TRY(stored.digests, decode_block_digests(parts.blocks).within(fmt::format("reading {}/{}", path, kDigestsFile)));
    std::vector<HeaderBytes> headers;
    for (const WeightsFile& file : stored.manifest.files) {
        const std::string name = path + "/" + file.name;
        auto header = read_safetensors_header(*files_, name);
        if (!header && header.error().code == Code::not_found) return Error{Code::corrupt, fmt::format("{} is missing", name)};
        if (!header) return std::move(header).error();
        if (header->region.bytes != file.bytes) {
            return Error{Code::corrupt, fmt::format("{} has {} bytes, {} says {}", name, header->region.bytes, kVersionFile, file.bytes)};
        }
        if (header->digest != file.header_digest) {
            return Error{Code::corrupt, fmt::format("{}: its first {} bytes are not what {} says", name, header->bytes.size(), kVersionFile)};
        }
        stored.checkpoint.files.push_back(name);
        stored.checkpoint.regions.push_back(header->region);
        headers.push_back(*std::move(header));
    }
    if (!fits(known_.get(), headers, parts.tensors)) {
        WSYNC_TRY(known_, place_tensors(stored, headers, parts.tensors));
    }
    stored.checkpoint.layout = known_->layout;
    stored.boxes = std::shared_ptr<const Layout>(known_, &known_->boxes);
    stored.tensors = std::shared_ptr<const Placement>(known_, &known_->tensors);
    stored.checkpoint.placement = known_->placement;
    stored.checkpoint.metadata = known_->metadata;
    WSYNC_TRY_VOID(check_digests(stored));
    return stored;
}

Result<StoredVersion> open_version(FileSystem& files, const std::string& path) { return VersionReader(files).open(path); }

Result<std::vector<VersionEntry>> list_versions(FileSystem& files, const std::string& root, const std::string& name) {
    if (!is_version_name(name)) return Error{Code::invalid_argument, fmt::format("\"{}\" is no name for weights", name)};
    const std::string directory = root + "/" + name;
    std::vector<VersionEntry> versions;
    auto listing = files.list(directory);
    if (!listing) {
        if (listing.error().code == Code::not_found) return versions;
        return std::move(listing).error();
    }
    for (const DirectoryEntry& entry : listing->entries) {
        const auto number = parse_directory_name(entry.name);
        if (!entry.directory || !number) continue;
        VersionEntry version;
        version.number = *number;
        version.path = directory + "/" + entry.name;
        const auto manifest = read_manifest(files, version.path);
        if (!manifest || manifest->version.name != name || VersionNumber{manifest->version.epoch, manifest->version.number} != *number) continue;
        version.version = manifest->version;
        for (const WeightsFile& f : manifest->files) version.bytes += f.bytes;
        for (const SideFile& f : manifest->side_files) version.bytes += f.bytes;
        versions.push_back(std::move(version));
    }
    std::sort(versions.begin(), versions.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
    return versions;
}

Result<StoredVersion> open_latest_version(FileSystem& files, const std::string& root, const std::string& name) {
    constexpr int kTries = 100;
    Error last{Code::not_found, fmt::format("{}/{} holds no version", root, name)};
    for (int i = 0; i < kTries; ++i) {
        WSYNC_TRY(const auto versions, list_versions(files, root, name));
        if (versions.empty()) return Error{Code::not_found, fmt::format("{}/{} holds no version", root, name)};
        auto stored = open_version(files, versions.back().path);
        if (stored) return stored;
        last = std::move(stored).error();
        if (last.code != Code::not_found && last.code != Code::unavailable) return last;
        pause_a_moment();
    }
    return last;
}

}  // namespace wsync
