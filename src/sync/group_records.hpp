// The control plane's records of a group of receivers, and where they lie.
//
//   @group/NAME/GROUP/round      GroupRoundRecord    which version is tried and what was decided: by compare-and-put alone
//   @group/NAME/GROUP/member/R   GroupMemberRecord   how far rank R is, under its lease
#pragma once

#include "base/process.hpp"
#include "wsync/model/version.hpp"

namespace wsync {

enum class GroupState : std::uint8_t { open, committed, aborted };
// Why a round was aborted: a member's error; its death; a deadline; the version was recycled (and a newer one is there).
enum class GroupCause : std::uint8_t { failed, lost, late, recycled };

struct GroupRoundRecord {
    std::uint64_t round = 0;           // from 1
    GroupState state = GroupState::open;
    Version version;                   // that is tried
    std::uint64_t committed_round = 0;  // the last round that all members activated; 0: none
    Version committed;                 // and its version
    GroupCause cause = GroupCause::failed;  // of an aborted round
    std::uint32_t rank = 0;            // whose fault it was
    std::string reason;                // in words
};

enum class MemberState : std::uint8_t { joined, staged };

struct GroupMemberRecord {
    std::uint32_t rank = 0, size = 1;
    ProcessIdentity process;
    std::string id;                    // for people
    std::uint64_t round = 0;           // 0: none yet
    MemberState state = MemberState::joined;
};

inline constexpr std::size_t kMaxGroupReasonBytes = 2048;  // a longer one is cut

// 1 to 100 characters, as a publication's name. Error{invalid_argument}.
[[nodiscard]] Status check_group_name(const std::string& group);
[[nodiscard]] std::string group_prefix(const std::string& name, const std::string& group);
[[nodiscard]] std::string group_round_key(const std::string& name, const std::string& group);
[[nodiscard]] std::string group_member_prefix(const std::string& name, const std::string& group);
[[nodiscard]] std::string group_member_key(const std::string& name, const std::string& group, std::uint32_t rank);

[[nodiscard]] Bytes encode(const GroupRoundRecord& record);
[[nodiscard]] Bytes encode(const GroupMemberRecord& record);
[[nodiscard]] Result<GroupRoundRecord> decode_group_round(std::span<const std::byte> bytes);
[[nodiscard]] Result<GroupMemberRecord> decode_group_member(std::span<const std::byte> bytes);

}  // namespace wsync
