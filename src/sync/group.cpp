#include "sync/group.hpp"

#include "sync/epoch.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <thread>

namespace wsync {
namespace {

// How often a waiting member looks although nothing was announced: a death is not.
constexpr auto kLookInterval = std::chrono::milliseconds(20);

}  // namespace

Result<std::unique_ptr<GroupMember>> GroupMember::make(GroupMemberOptions options, Control& control) {
    WSYNC_TRY_VOID(check_group_name(options.group));
    if (options.size == 0 || options.rank >= options.size) {
        return Error{Code::invalid_argument, fmt::format("rank {} of a group of {}: ranks count from 0", options.rank, options.size), {}};
    }
    std::unique_ptr<GroupMember> member(new GroupMember(std::move(options), control));
    WSYNC_TRY(member->watch_, control.watch(group_prefix(member->options_.name, member->options_.group)));
    return member;
}

// A rank's record stays its owner's while his lease runs.
Status GroupMember::take_rank(const Bytes& record, Deadline deadline) {
    const auto key = group_member_key(options_.name, options_.group, options_.rank);
    while (true) {
        WSYNC_TRY(lease_, control_.open_lease(options_.lease_time));
        auto put = control_.compare_and_put(key, 0, record, lease_.get());
        if (put) return {};
        lease_.reset();
        if (put.error().code != Code::unavailable) return std::move(put).error();
        WSYNC_TRY(const auto entry, read_one(control_, key));
        if (!entry) continue;
        WSYNC_TRY(const auto owner, decode_group_member(entry->value).within("reading " + key));
        if (liveness_of(owner.process) == Liveness::alive || deadline.expired()) {
            return Error{Code::unavailable, fmt::format("rank {} of group \"{}\" is {} ({}) already: give each receiver a rank of its own", options_.rank, options_.group,
                                                        owner.process.to_string(), owner.id), {}};
        }
        std::this_thread::sleep_for(kLookInterval);  // on another machine its lease may be about to end
    }
}

Status GroupMember::announce(std::uint64_t round, MemberState state, Deadline deadline) {
    GroupMemberRecord record{options_.rank, options_.size, {}, options_.id.substr(0, 256), round, state};
    WSYNC_TRY(record.process, current_process());
    const auto bytes = encode(record);
    if (lease_) {
        auto put = control_.put(group_member_key(options_.name, options_.group, options_.rank), bytes, lease_.get());
        if (put) return {};
        // A lease that ended (this process was stopped): the others have given this member up.
        if (put.error().code != Code::unavailable || state == MemberState::staged) return std::move(put).error();
        lease_.reset();
    }
    return take_rank(bytes, deadline);
}

Result<GroupMember::Seen> GroupMember::look() {
    const auto key = group_round_key(options_.name, options_.group);
    WSYNC_TRY(auto entry, read_one(control_, key));
    if (!entry) return Seen{};
    WSYNC_TRY(auto record, decode_group_round(entry->value).within("reading " + key));
    return Seen{std::move(record), entry->revision};
}

Result<std::map<std::uint32_t, GroupMemberRecord>> GroupMember::members() {
    WSYNC_TRY(const auto entries, control_.read(group_member_prefix(options_.name, options_.group)));
    std::map<std::uint32_t, GroupMemberRecord> there;
    for (const auto& entry : entries) {
        WSYNC_TRY(auto record, decode_group_member(entry.value).within("reading " + entry.key));
        if (record.size != options_.size) {
            return Error{Code::invalid_argument, fmt::format("rank {} of group \"{}\" ({}) says that it has {} members, rank {} says {}", record.rank, options_.group,
                                                             record.process.to_string(), record.size, options_.rank, options_.size), {}};
        }
        const auto rank = record.rank;
        there.emplace(rank, std::move(record));
    }
    return there;
}

void GroupMember::note_seen(const GroupTurn& turn, const std::map<std::uint32_t, GroupMemberRecord>& there) {
    for (const auto& [rank, member] : there)
        if (member.round == turn.round) seen_[rank] = fmt::format("{}, {}", member.process.to_string(), member.id);
}

Result<bool> GroupMember::change(const Seen& seen, const GroupRoundRecord& next) {
    auto put = control_.compare_and_put(group_round_key(options_.name, options_.group), seen.revision, encode(next), nullptr);
    if (put) return true;
    if (put.error().code == Code::unavailable) return false;
    return std::move(put).error();
}

Result<bool> GroupMember::abort(const Seen& seen, GroupCause cause, std::uint32_t rank, std::string reason) {
    auto next = *seen.record;
    next.state = GroupState::aborted;
    next.cause = cause;
    next.rank = rank;
    next.reason = std::move(reason);
    return change(seen, next);
}

Result<GroupTurn> GroupMember::begin(const Version& newest, const std::function<bool(const Version&)>& is_news, Deadline deadline) {
    while (true) {
        WSYNC_TRY_VOID(members());
        WSYNC_TRY(const auto seen, look());
        GroupTurn turn;
        if (seen.record && seen.record->state == GroupState::open) {
            if (!is_news(seen.record->version)) {
                // Left by members that have gone, or this one was brought up to date without its group.
                WSYNC_TRY_VOID(abort(seen, GroupCause::recycled, options_.rank, fmt::format("rank {} has {} already", options_.rank, seen.record->version.label())));
                continue;
            }
            turn = {seen.record->round, seen.record->version, false};
        } else if (seen.record && seen.record->committed_round > 0 && !newest.newer_than(seen.record->committed) && is_news(seen.record->committed)) {
            return GroupTurn{seen.record->committed_round, seen.record->committed, true};
        } else {
            GroupRoundRecord next;
            if (seen.record) next = *seen.record;
            ++next.round;
            next.state = GroupState::open;
            next.version = newest;
            next.reason.clear();
            WSYNC_TRY(const bool opened, change(seen, next));
            if (!opened) continue;
            turn = {next.round, newest, false};
        }
        seen_.clear();
        WSYNC_TRY_VOID(announce(turn.round, MemberState::joined, deadline));
        WSYNC_TRY(const auto there, members());
        note_seen(turn, there);
        return turn;
    }
}

Status GroupMember::outcome(const GroupTurn& turn, const GroupRoundRecord& record, bool& again) const {
    if (record.committed_round == turn.round) return {};
    if (record.round != turn.round || record.state != GroupState::aborted) {
        return Error{Code::unavailable, fmt::format("group \"{}\" has given up {} (round {}); none of it is active", options_.group, turn.version.label(), turn.round), {}};
    }
    again = record.cause == GroupCause::recycled;
    const Code code = record.cause == GroupCause::lost ? Code::peer_lost : record.cause == GroupCause::late ? Code::timed_out : Code::unavailable;
    return Error{code, fmt::format("group \"{}\" does not activate {}: {}", options_.group, turn.version.label(), record.reason), {}};
}

std::string GroupMember::who_is_late(const GroupTurn& turn, const std::map<std::uint32_t, GroupMemberRecord>& there) const {
    std::string late;
    for (std::uint32_t rank = 0; rank < options_.size; ++rank) {
        const auto at = there.find(rank);
        const bool staged = at != there.end() && at->second.round == turn.round && at->second.state == MemberState::staged;
        if (staged) continue;
        const auto* how = at == there.end() ? "is not there" : at->second.round == turn.round ? "has not staged it yet" : "does not ask for a version";
        late += fmt::format("{}rank {} {}", late.empty() ? "" : ", ", rank, at == there.end() ? std::string(how) : fmt::format("({}) {}", at->second.id, how));
    }
    return late;
}

Result<std::optional<Status>> GroupMember::decide(const GroupTurn& turn, Deadline deadline, bool& again) {
    WSYNC_TRY(const auto seen, look());
    if (!seen.record) return Error{Code::unavailable, fmt::format("the record of group \"{}\" was removed from {}", options_.group, control_.address()), {}};
    if (seen.record->round != turn.round || seen.record->state != GroupState::open) return std::optional<Status>(outcome(turn, *seen.record, again));
    WSYNC_TRY(const auto there, members());
    note_seen(turn, there);
    const auto staged = std::count_if(there.begin(), there.end(), [&](const auto& member) {
        return member.second.round == turn.round && member.second.state == MemberState::staged;
    });
    if (static_cast<std::uint32_t>(staged) == options_.size) {
        auto next = *seen.record;
        next.state = GroupState::committed;
        next.committed_round = next.round;
        next.committed = next.version;
        WSYNC_TRY_VOID(change(seen, next));
        return std::optional<Status>();  // the next look says what was decided, by whomever
    }
    for (const auto& [rank, who] : seen_) {
        const auto at = there.find(rank);
        if (at != there.end() && at->second.round >= turn.round) continue;
        WSYNC_TRY_VOID(abort(seen, GroupCause::lost, rank, fmt::format("rank {} ({}) died while it staged, or its lease ended", rank, who)));
        return std::optional<Status>();
    }
    if (!deadline.expired()) return std::optional<Status>();
    auto reason = deadline.interrupted() ? fmt::format("rank {} ({}) was interrupted while it waited for the others", options_.rank, options_.id)
                                         : fmt::format("{} when the deadline of rank {} passed", who_is_late(turn, there), options_.rank);
    WSYNC_TRY_VOID(abort(seen, GroupCause::late, options_.rank, std::move(reason)));
    return std::optional<Status>();
}

Status GroupMember::staged(const GroupTurn& turn, Deadline deadline, bool& again) {
    again = false;
    auto announced = announce(turn.round, MemberState::staged, deadline);
    if (!announced) {
        failed(turn, announced.error());
        return std::move(announced).error();
    }
    // What the control plane answers ends nothing while it may get better: only its records decide.
    const auto patience = Deadline(options_.lease_time);
    while (true) {
        auto decided = decide(turn, deadline, again);
        if (decided && *decided) return **std::move(decided);
        if (!decided && (decided.error().code == Code::invalid_argument || decided.error().code == Code::corrupt)) {
            failed(turn, decided.error());
            return std::move(decided).error();
        }
        if (!decided && deadline.expired() && patience.expired()) {
            return std::move(decided).error().within(fmt::format("asking what group \"{}\" decided on {}, which is not known here", options_.group, turn.version.label()));
        }
        if (!decided || !deadline.expired()) (void)watch_->wait(deadline.expired() ? Deadline(kLookInterval) : deadline.sooner(kLookInterval));
    }
}

void GroupMember::failed(const GroupTurn& turn, const Error& error) {
    const auto cause = error.code == Code::unavailable ? GroupCause::recycled : GroupCause::failed;
    for (auto seen = look(); seen && seen->record && seen->record->round == turn.round && seen->record->state == GroupState::open; seen = look()) {
        const auto aborted = abort(*seen, cause, options_.rank, fmt::format("rank {} ({}) could not stage it: {}", options_.rank, options_.id, error.to_string()));
        if (!aborted || *aborted) return;
    }
}

}  // namespace wsync
