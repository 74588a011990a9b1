#include "model/records.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace wsync {
namespace {

constexpr RecordKind kManifestKind{"WMAN", 1, 0};
constexpr RecordKind kLayoutKind{"WLAY", 1, 0};
constexpr RecordKind kPlacementKind{"WPLA", 1, 0};
constexpr std::size_t kMaxNameBytes = 1024;

// What a construction refuses is, in a record, damage.
template <class T>
Result<T> from_record(Result<T> made, std::string_view what) {
    if (made.has_value()) return made;
    Error error = std::move(made).error();
    if (error.code == Code::invalid_argument) error = Error{Code::corrupt, fmt::format("{}: {}", what, error.message), std::move(error.context)};
    return error;
}

// Only a newer minor may have appended something.
Status finish(const ByteReader& reader, std::uint16_t minor, RecordKind kind) {
    if (minor > kind.minor) return {};
    return reader.finish();
}

Result<Dims> read_dims(ByteReader& reader, std::size_t rank) {
    Dims dims(rank, 0);
    for (std::size_t d = 0; d < rank; ++d) {
        WSYNC_TRY(dims[d], reader.u64());
    }
    return dims;
}

}  // namespace

Bytes encode(const Manifest& manifest) {
    ByteWriter writer;
    writer.begin_record(kManifestKind).u32(static_cast<std::uint32_t>(manifest.size()));
    for (const TensorSpec& tensor : manifest.tensors()) {
        writer.text(tensor.name).u8(static_cast<std::uint8_t>(tensor.dtype)).u8(static_cast<std::uint8_t>(tensor.shape.size()));
        for (std::uint64_t extent : tensor.shape) writer.u64(extent);
    }
    return writer.take();
}

Result<Manifest> decode_manifest(std::span<const std::byte> bytes) {
    ByteReader reader(bytes, "manifest record");
    WSYNC_TRY(const std::uint16_t minor, reader.begin_record(kManifestKind));
    WSYNC_TRY(const std::uint32_t count, reader.count(4 + 1 + 1 + 1));
    std::vector<TensorSpec> tensors;
    tensors.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        TensorSpec tensor;
        WSYNC_TRY(tensor.name, reader.text(kMaxNameBytes));
        WSYNC_TRY(const std::uint8_t dtype, reader.u8());
        WSYNC_TRY(const std::uint8_t rank, reader.u8());
        if (dtype >= kDTypeCount) return Error{Code::corrupt, fmt::format("manifest record: tensor {} has the unknown dtype {}", i, dtype), {}};
        if (rank > kMaxRank) return Error{Code::corrupt, fmt::format("manifest record: tensor {} has {} dimensions, the limit is {}", i, rank, kMaxRank), {}};
        tensor.dtype = static_cast<DType>(dtype);
        WSYNC_TRY(tensor.shape, read_dims(reader, rank));
        tensors.push_back(std::move(tensor));
    }
    WSYNC_TRY_VOID(finish(reader, minor, kManifestKind));
    return from_record(Manifest::make(std::move(tensors)), "manifest record");
}

Bytes encode(const Layout& layout) {
    ByteWriter writer;
    writer.begin_record(kLayoutKind).blob(encode(layout.manifest()));
    writer.u32(layout.ranks()).u8(static_cast<std::uint8_t>(layout.coverage())).u32(static_cast<std::uint32_t>(layout.shards().size()));
    for (const Shard& shard : layout.shards()) {
        writer.u32(shard.rank).u32(shard.tensor);
        for (std::uint64_t offset : shard.box.offset) writer.u64(offset);
        for (std::uint64_t size : shard.box.size) writer.u64(size);
    }
    return writer.take();
}

Result<Layout> decode_layout(std::span<const std::byte> bytes) {
    ByteReader reader(bytes, "layout record");
    WSYNC_TRY(const std::uint16_t minor, reader.begin_record(kLayoutKind));
    WSYNC_TRY(const auto manifest_bytes, reader.blob(std::numeric_limits<std::uint32_t>::max()));
    WSYNC_TRY(Manifest manifest, decode_manifest(manifest_bytes));
    WSYNC_TRY(const std::uint32_t ranks, reader.u32());
    WSYNC_TRY(const std::uint8_t coverage, reader.u8());
    if (coverage > static_cast<std::uint8_t>(Coverage::partial)) {
        return Error{Code::corrupt, fmt::format("layout record: {} is not a coverage", coverage), {}};
    }
    WSYNC_TRY(const std::uint32_t count, reader.count(4 + 4));
    std::vector<Shard> shards;
    shards.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        Shard shard;
        WSYNC_TRY(shard.rank, reader.u32());
        WSYNC_TRY(shard.tensor, reader.u32());
        if (shard.tensor >= manifest.size()) {
            return Error{Code::corrupt, fmt::format("layout record: shard {} names tensor {}, the manifest has {}", i, shard.tensor, manifest.size()), {}};
        }
        const std::size_t rank = manifest[shard.tensor].shape.size();
        WSYNC_TRY(shard.box.offset, read_dims(reader, rank));
        WSYNC_TRY(shard.box.size, read_dims(reader, rank));
        shards.push_back(shard);
    }
    WSYNC_TRY_VOID(finish(reader, minor, kLayoutKind));
    WSYNC_TRY(Layout layout, from_record(Layout::make(std::move(manifest), ranks, shards, static_cast<Coverage>(coverage)), "layout record"));
    // One value has one encoding: a layout is named by the digest of its record.
    if (layout.shards() != shards) return Error{Code::corrupt, "layout record: its shards are not in canonical order", {}};
    return layout;
}

Bytes encode(const Placement& placement) {
    ByteWriter writer;
    writer.begin_record(kPlacementKind).u32(static_cast<std::uint32_t>(placement.region_bytes.size()));
    for (std::uint64_t bytes : placement.region_bytes) writer.u64(bytes);
    writer.u32(static_cast<std::uint32_t>(placement.places.size()));
    for (const ShardPlace& place : placement.places) writer.u32(place.region).u64(place.offset);
    return writer.take();
}

Result<Placement> decode_placement(std::span<const std::byte> bytes) {
    ByteReader reader(bytes, "placement record");
    WSYNC_TRY(const std::uint16_t minor, reader.begin_record(kPlacementKind));
    Placement placement;
    WSYNC_TRY(const std::uint32_t regions, reader.count(8));
    placement.region_bytes.reserve(regions);
    std::uint64_t total = 0;
    for (std::uint32_t i = 0; i < regions; ++i) {
        WSYNC_TRY(const std::uint64_t region_bytes, reader.u64());
        if (__builtin_add_overflow(total, region_bytes, &total) || total > std::numeric_limits<std::int64_t>::max()) {
            return Error{Code::corrupt, fmt::format("placement record: region {} of {} bytes passes 2^63 in all", i, region_bytes), {}};
        }
        placement.region_bytes.push_back(region_bytes);
    }
    WSYNC_TRY(const std::uint32_t places, reader.count(4 + 8));
    placement.places.reserve(places);
    for (std::uint32_t i = 0; i < places; ++i) {
        ShardPlace place;
        WSYNC_TRY(place.region, reader.u32());
        WSYNC_TRY(place.offset, reader.u64());
        if (place.region >= regions || place.offset > placement.region_bytes[place.region]) {
            return Error{Code::corrupt, fmt::format("placement record: place {} (region {}, offset {}) is outside its regions", i, place.region, place.offset), {}};
        }
        placement.places.push_back(place);
    }
    WSYNC_TRY_VOID(finish(reader, minor, kPlacementKind));
    return placement;
}

}  // namespace wsync
