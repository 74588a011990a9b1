#include "sync/group_records.hpp"

#include "sync/records.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

constexpr RecordKind kRoundKind{"WSGR", 1, 0};
constexpr RecordKind kMemberKind{"WSGM", 1, 0};

template <class Enum>
Result<Enum> read_enum(ByteReader& in, Enum last, std::string_view what) {
    WSYNC_TRY(const auto value, in.u8());
    if (value > static_cast<std::uint8_t>(last)) return Error{Code::corrupt, fmt::format("a group's record has {} {}, the last one known is {}", what, value, static_cast<int>(last)), {}};
    return static_cast<Enum>(value);
}

Status finish(const ByteReader& in, std::uint16_t minor, RecordKind kind) { return minor > kind.minor ? Status{} : in.finish(); }

}  // namespace

Status check_group_name(const std::string& group) {
    auto checked = check_publication_name(group);
    if (checked) return {};
    return Error{Code::invalid_argument, fmt::format("\"{}\" is no name for a group of receivers: use 1 to 100 characters of A-Z a-z 0-9 . _ + -, the first not a dot", group), {}};
}

std::string group_prefix(const std::string& name, const std::string& group) { return fmt::format("@group/{}/{}", name, group); }
std::string group_round_key(const std::string& name, const std::string& group) { return group_prefix(name, group) + "/round"; }
std::string group_member_prefix(const std::string& name, const std::string& group) { return group_prefix(name, group) + "/member"; }
std::string group_member_key(const std::string& name, const std::string& group, std::uint32_t rank) {
    return fmt::format("{}/{}", group_member_prefix(name, group), rank);
}

Bytes encode(const GroupRoundRecord& record) {
    ByteWriter out;
    out.begin_record(kRoundKind).u64(record.round).u8(static_cast<std::uint8_t>(record.state));
    write(out, record.version);
    out.u64(record.committed_round);
    write(out, record.committed);
    out.u8(static_cast<std::uint8_t>(record.cause)).u32(record.rank).text(std::string_view(record.reason).substr(0, kMaxGroupReasonBytes));
    return out.take();
}

Result<GroupRoundRecord> decode_group_round(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "group's round record");
    GroupRoundRecord record;
    WSYNC_TRY(auto minor, in.begin_record(kRoundKind));
    WSYNC_TRY(record.round, in.u64());
    WSYNC_TRY(record.state, read_enum(in, GroupState::aborted, "state"));
    WSYNC_TRY(record.version, read_version(in));
    WSYNC_TRY(record.committed_round, in.u64());
    WSYNC_TRY(record.committed, read_version(in));
    WSYNC_TRY(record.cause, read_enum(in, GroupCause::recycled, "cause"));
    WSYNC_TRY(record.rank, in.u32());
    WSYNC_TRY(record.reason, in.text(kMaxGroupReasonBytes));
    WSYNC_TRY_VOID(finish(in, minor, kRoundKind));
    if (record.round == 0 || record.committed_round > record.round) {
        return Error{Code::corrupt, fmt::format("group's round record: rounds count from 1, and round {} can't follow a committed round {}", record.round, record.committed_round), {}};
    }
    return record;
}

Bytes encode(const GroupMemberRecord& record) {
    ByteWriter out;
    out.begin_record(kMemberKind).u32(record.rank).u32(record.size);
    write(out, record.process);
    out.text(record.id).u64(record.round).u8(static_cast<std::uint8_t>(record.state));
    return out.take();
}

Result<GroupMemberRecord> decode_group_member(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "group's member record");
    GroupMemberRecord record;
    WSYNC_TRY(auto minor, in.begin_record(kMemberKind));
    WSYNC_TRY(record.rank, in.u32());
    WSYNC_TRY(record.size, in.u32());
    WSYNC_TRY(record.process, read_process_identity(in));
    WSYNC_TRY(record.id, in.text(256));
    WSYNC_TRY(record.round, in.u64());
    WSYNC_TRY(record.state, read_enum(in, MemberState::staged, "state"));
    WSYNC_TRY_VOID(finish(in, minor, kMemberKind));
    if (record.rank >= record.size) return Error{Code::corrupt, fmt::format("group's member record: rank {} of {}", record.rank, record.size), {}};
    return record;
}

}  // namespace wsync
