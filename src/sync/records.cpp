#include "sync/records.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fmt/format.h>

namespace wsync {
namespace {

constexpr RecordKind kEpochKind{"WSEP", 1, 0};
constexpr RecordKind kRankKind{"WSRK", 1, 0};
constexpr RecordKind kPublicationKind{"WSPB", 1, 0};
constexpr RecordKind kHeadKind{"WSHD", 1, 0};
constexpr std::size_t kMaxDescriptorBytes = 4096;
constexpr std::size_t kMaxPathBytes = 4096;

void write_seconds(ByteWriter& out, double seconds) { out.u64(std::bit_cast<std::uint64_t>(seconds)); }
Result<double> read_seconds(ByteReader& in) {
    WSYNC_TRY(auto bits, in.u64());
    const double seconds = std::bit_cast<double>(bits);
    if (!(seconds >= 0 && seconds < 1e9)) return Error{Code::corrupt, "a record holds a duration that can't be", {}};
    return seconds;
}

// A newer minor may have appended fields that this side doesn't know.
Status finish(const ByteReader& in, std::uint16_t minor, RecordKind kind) {
    return minor > kind.minor ? Status{} : in.finish();
}

}  // namespace

Digest digest_of_version(const Digest& layout, std::span<const Digest> ranks) {
    ByteWriter list;
    list.digest(layout);
    for (const auto& rank : ranks) list.digest(rank);
    return digest_of(list.view());
}

Status check_publication_name(const std::string& name) {
    const auto legal = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == '+';
    };
    if (name.empty() || name.size() > 100 || name.front() == '.' || !std::all_of(name.begin(), name.end(), legal)) {
        return Error{Code::invalid_argument,
                     fmt::format("\"{}\" is no name for weights: use 1 to 100 characters of A-Z a-z 0-9 . _ + -, the first not a dot", name), {}};
    }
    return {};
}
std::string epoch_key(const std::string& name) { return name + "/epoch"; }
std::string head_key(const std::string& name) { return name + "/head"; }
std::string rank_prefix(const std::string& name, std::uint64_t epoch) { return fmt::format("{}/e{}/rank", name, epoch); }
std::string rank_key(const std::string& name, std::uint64_t epoch, std::uint32_t rank) {
    return fmt::format("{}/{}", rank_prefix(name, epoch), rank);
}
std::string version_prefix(const std::string& name, std::uint64_t epoch, std::uint64_t number) {
    return fmt::format("{}/e{}/v{}", name, epoch, number);
}
std::string version_key(const std::string& name, std::uint64_t epoch, std::uint64_t number, std::uint32_t rank) {
    return fmt::format("{}/{}", version_prefix(name, epoch, number), rank);
}

Bytes encode(const EpochRecord& record) {
    ByteWriter out;
    out.begin_record(kEpochKind).u64(record.epoch).text(record.run).u32(record.world).digest(record.layout).raw(record.secret);
    return out.take();
}

Result<EpochRecord> decode_epoch(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "epoch record");
    EpochRecord record;
    WSYNC_TRY(auto minor, in.begin_record(kEpochKind));
    WSYNC_TRY(record.epoch, in.u64());
    WSYNC_TRY(record.run, in.text(256));
    WSYNC_TRY(record.world, in.u32());
    WSYNC_TRY(record.layout, in.digest());
    WSYNC_TRY(auto secret, in.raw(record.secret.size()));
    std::memcpy(record.secret.data(), secret.data(), secret.size());
    WSYNC_TRY_VOID(finish(in, minor, kEpochKind));
    if (record.epoch == 0 || record.world == 0) return Error{Code::corrupt, "epoch record: epoch and world start at 1", {}};
    return record;
}

Bytes encode(const RankRecord& record) {
    ByteWriter out;
    out.begin_record(kRankKind);
    write(out, record.process);
    out.u32(static_cast<std::uint32_t>(record.links.size()));
    for (const auto& link : record.links) out.text(link);
    out.u32(static_cast<std::uint32_t>(record.slabs.size()));
    for (const auto& slab : record.slabs) {
        out.u32(static_cast<std::uint32_t>(slab.size()));
        for (const auto& descriptor : slab) out.text(descriptor.transport).blob(descriptor.bytes);
    }
    out.digest(record.layout).digest(record.placement);
    return out.take();
}

Result<RankRecord> decode_rank(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "rank record");
    RankRecord record;
    WSYNC_TRY(auto minor, in.begin_record(kRankKind));
    WSYNC_TRY(record.process, read_process_identity(in));
    WSYNC_TRY(auto links, in.count(4));
    for (std::uint32_t i = 0; i < links; ++i) {
        WSYNC_TRY(auto link, in.text(kMaxPathBytes));
        record.links.push_back(std::move(link));
    }
    WSYNC_TRY(auto slabs, in.count(4));
    for (std::uint32_t i = 0; i < slabs; ++i) {
        WSYNC_TRY(auto descriptors, in.count(8));
        auto& slab = record.slabs.emplace_back();
        for (std::uint32_t k = 0; k < descriptors; ++k) {
            Descriptor descriptor;
            WSYNC_TRY(descriptor.transport, in.text(32));
            WSYNC_TRY(auto blob, in.blob(kMaxDescriptorBytes));
            descriptor.bytes.assign(blob.begin(), blob.end());
            slab.push_back(std::move(descriptor));
        }
    }
    WSYNC_TRY(record.layout, in.digest());
    WSYNC_TRY(record.placement, in.digest());
    WSYNC_TRY_VOID(finish(in, minor, kRankKind));
    return record;
}

Bytes encode(const PublicationRecord& record) {
    ByteWriter out;
    out.begin_record(kPublicationKind).u64(record.number).u64(record.step).u32(record.slab).u64(record.generation).digest(record.digests);
    write_seconds(out, record.prepare_seconds);
    write_seconds(out, record.store_seconds);
    write_seconds(out, record.blocked_seconds);
    out.text(record.directory);
    return out.take();
}

Result<PublicationRecord> decode_publication(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "publication record");
    PublicationRecord record;
    WSYNC_TRY(auto minor, in.begin_record(kPublicationKind));
    WSYNC_TRY(record.number, in.u64());
    WSYNC_TRY(record.step, in.u64());
    WSYNC_TRY(record.slab, in.u32());
    WSYNC_TRY(record.generation, in.u64());
    WSYNC_TRY(record.digests, in.digest());
    WSYNC_TRY(record.prepare_seconds, read_seconds(in));
    WSYNC_TRY(record.store_seconds, read_seconds(in));
    WSYNC_TRY(record.blocked_seconds, read_seconds(in));
    WSYNC_TRY(record.directory, in.text(kMaxPathBytes));
    WSYNC_TRY_VOID(finish(in, minor, kPublicationKind));
    return record;
}

void write(ByteWriter& out, const Version& v) {
    out.text(v.name).text(v.run).u64(v.epoch).u64(v.number).u64(v.step).u64(v.parent).digest(v.digest);
}

Result<Version> read_version(ByteReader& in) {
    Version v;
    WSYNC_TRY(v.name, in.text(256));
    WSYNC_TRY(v.run, in.text(256));
    WSYNC_TRY(v.epoch, in.u64());
    WSYNC_TRY(v.number, in.u64());
    WSYNC_TRY(v.step, in.u64());
    WSYNC_TRY(v.parent, in.u64());
    WSYNC_TRY(v.digest, in.digest());
    return v;
}

Bytes encode(const HeadRecord& record) {
    ByteWriter out;
    out.begin_record(kHeadKind);
    write(out, record.version);
    return out.take();
}

Result<HeadRecord> decode_head(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "head record");
    HeadRecord record;
    WSYNC_TRY(auto minor, in.begin_record(kHeadKind));
    WSYNC_TRY(record.version, read_version(in));
    WSYNC_TRY_VOID(finish(in, minor, kHeadKind));
    return record;
}

}  // namespace wsync
