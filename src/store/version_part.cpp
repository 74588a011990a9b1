#include "store/version_part.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

constexpr RecordKind kPartKind{"WSVP", 1, 0};

}  // namespace

std::string part_name(std::uint32_t rank) { return fmt::format("wsync.part-{}", rank); }

Bytes encode(const VersionPart& part) {
    ByteWriter out;
    const Version& v = part.version;
    out.begin_record(kPartKind).text(v.name).text(v.run).u64(v.epoch).u64(v.number).u64(v.step).u64(v.parent);
    out.u32(part.rank).u32(part.ranks).digest(part.layout).digest(part.files).blob(encode(part.blocks));
    return out.take();
}

Result<VersionPart> decode_version_part(std::span<const std::byte> bytes, std::string_view name) {
    ByteReader in(bytes, name);
    VersionPart part;
    Version& v = part.version;
    WSYNC_TRY(const auto minor, in.begin_record(kPartKind));
    WSYNC_TRY(v.name, in.text(128));
    WSYNC_TRY(v.run, in.text(1024));
    WSYNC_TRY(v.epoch, in.u64());
    WSYNC_TRY(v.number, in.u64());
    WSYNC_TRY(v.step, in.u64());
    WSYNC_TRY(v.parent, in.u64());
    WSYNC_TRY(part.rank, in.u32());
    WSYNC_TRY(part.ranks, in.u32());
    WSYNC_TRY(part.layout, in.digest());
    WSYNC_TRY(part.files, in.digest());
    WSYNC_TRY(const auto blocks, in.blob(bytes.size()));
    WSYNC_TRY(part.blocks, decode_block_digests(blocks).within(fmt::format("reading {}", name)));
    if (minor <= kPartKind.minor) WSYNC_TRY_VOID(in.finish());
    return part;
}

}  // namespace wsync
