// Receivers in a group, each a process of its own: all of them activate a version, or none does.
//
// A round tries one version. Each member stages it beside what serves and says so; who sees that all have, commits the
// round; who fails, sees a member die (its lease end) or runs out of time, aborts it. Both by compare-and-put of one record:
// there is one decision, and every member follows it. A member that is killed after the decision catches up when it is back.
#pragma once

#include "control/control.hpp"
#include "sync/group_records.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>

namespace wsync {

struct GroupMemberOptions {
    std::string name;                   // of the weights
    std::string group;
    std::uint32_t rank = 0, size = 1;
    std::string id;                     // shows in the others' errors
    Deadline::clock::duration lease_time = std::chrono::seconds(5);
};

// What a member stages next.
struct GroupTurn {
    std::uint64_t round = 0;
    Version version;
    bool decided = false;               // the group activated it already: this one catches up, and nobody is asked
};

// One thread.
class GroupMember {
public:
    // `control` is borrowed and outlives it. Nothing is put before the first turn.
    [[nodiscard]] static Result<std::unique_ptr<GroupMember>> make(GroupMemberOptions options, Control& control);

    // The version to stage: the one of the round under way, or else `newest`, which opens a round. `is_news`: whether a
    // version is newer than what this member serves. Error{unavailable} when another process has this rank and lives,
    // Error{invalid_argument} when the others speak of another size.
    [[nodiscard]] Result<GroupTurn> begin(const Version& newest, const std::function<bool(const Version&)>& is_news, Deadline deadline);
    // The version is staged here. Answers when it is on all members: then it is to be activated, at once. In every Error none
    // activates it: who could not is named, and why. `again`: the version was recycled, a newer one is there.
    [[nodiscard]] Status staged(const GroupTurn& turn, Deadline deadline, bool& again);
    // It can't be staged here: none activates it.
    void failed(const GroupTurn& turn, const Error& error);

private:
    struct Seen {
        std::optional<GroupRoundRecord> record;
        Revision revision = 0;
    };
    GroupMember(GroupMemberOptions options, Control& control) : options_(std::move(options)), control_(control) {}
    [[nodiscard]] Status announce(std::uint64_t round, MemberState state, Deadline deadline);
    [[nodiscard]] Status take_rank(const Bytes& record, Deadline deadline);
    [[nodiscard]] Result<Seen> look();
    // By rank. Error{invalid_argument} for another size.
    [[nodiscard]] Result<std::map<std::uint32_t, GroupMemberRecord>> members();
    void note_seen(const GroupTurn& turn, const std::map<std::uint32_t, GroupMemberRecord>& there);
    // True when the change was made; false when somebody else made one first.
    [[nodiscard]] Result<bool> change(const Seen& seen, const GroupRoundRecord& next);
    [[nodiscard]] Result<bool> abort(const Seen& seen, GroupCause cause, std::uint32_t rank, std::string reason);
    // Looks once: nothing while it is undecided.
    [[nodiscard]] Result<std::optional<Status>> decide(const GroupTurn& turn, Deadline deadline, bool& again);
    [[nodiscard]] Status outcome(const GroupTurn& turn, const GroupRoundRecord& record, bool& again) const;
    [[nodiscard]] std::string who_is_late(const GroupTurn& turn, const std::map<std::uint32_t, GroupMemberRecord>& there) const;

    GroupMemberOptions options_;
    Control& control_;
    std::unique_ptr<Watch> watch_;
    std::unique_ptr<Lease> lease_;
    std::map<std::uint32_t, std::string> seen_;  // in this round: rank and its process in words
};

}  // namespace wsync
