#include "sync/holds.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace wsync {

std::string_view name_of(HoldKind kind) noexcept {
    switch (kind) {
        case HoldKind::copy: return "copy";
        case HoldKind::install: return "install";
        case HoldKind::serve: return "serve";
    }
    return "copy";
}

HoldTable::HoldTable(std::vector<std::atomic<std::uint64_t>*> generations, OnRevoked on_revoked) : on_revoked_(std::move(on_revoked)) {
    for (auto* generation : generations) slabs_.push_back({State::free, 0, generation});
}

bool HoldTable::held(std::uint32_t slab) const {
    return std::any_of(granted_.begin(), granted_.end(), [&](const auto& entry) { return entry.second.hold.slab == slab; });
}

std::string HoldTable::holders(std::uint32_t slab) const {
    std::string text;
    for (const auto& [id, granted] : granted_) {
        if (granted.hold.slab != slab) continue;
        if (!text.empty()) text += ", ";
        text += fmt::format("{} ({} hold on version {}{})", granted.holder, name_of(granted.hold.kind), granted.hold.number, granted.offered ? ", offered" : "");
    }
    return text;
}

std::vector<std::uint32_t> HoldTable::writable() const {
    std::vector<std::uint32_t> slabs;
    for (std::uint32_t i = 0; i < slabs_.size(); ++i) {
        const auto& slab = slabs_[i];
        if (slab.state == State::writing) continue;
        if (slabs_.size() > 1 && slab.state == State::published && slab.number == newest_) continue;
        slabs.push_back(i);
    }
    // Unpublished ones first, then the oldest version.
    std::sort(slabs.begin(), slabs.end(), [&](auto a, auto b) {
        const auto age = [&](std::uint32_t i) { return slabs_[i].state == State::published ? slabs_[i].number : 0; };
        return age(a) < age(b);
    });
    return slabs;
}

Result<std::uint32_t> HoldTable::begin_write(Deadline deadline, bool revoke) {
    std::unique_lock lock(mutex_);
    while (true) {
        const auto candidates = writable();
        if (candidates.empty()) {
            return Error{Code::invalid_argument, "every slab is being written: publish or drop the write under way first", {}};
        }
        auto take = [&](std::uint32_t i) {
            auto& slab = slabs_[i];
            slab.state = State::writing;
            // Odd before the first byte changes (the read-modify-write is sequentially consistent): a reader that rechecks
            // can't take the new bytes for the old version's.
            if (slab.generation->load() % 2 == 0) slab.generation->fetch_add(1);
            return i;
        };
        for (auto i : candidates)
            if (!held(i)) return take(i);
        if (deadline.expired()) {
            const auto i = candidates.front();
            if (!revoke) {
                return Error{Code::timed_out, fmt::format("no slab is free to write: held by {}; wait longer, add a slab, or revoke", holders(i)), {}};
            }
            std::vector<Granted> revoked;
            std::set<std::uint64_t> losers;
            for (const auto& [id, granted] : granted_)
                if (granted.hold.slab == i) losers.insert(granted.connection);
            for (auto it = granted_.begin(); it != granted_.end();) {
                // What a holder that does not answer was offered goes too: it would cost the trainer the next deadline.
                if (it->second.hold.slab != i && !(it->second.offered && losers.contains(it->second.connection))) {
                    ++it;
                    continue;
                }
                revoked.push_back(std::move(it->second));
                it = granted_.erase(it);
            }
            const auto slab = take(i);
            lock.unlock();
            if (on_revoked_)
                for (const auto& granted : revoked) on_revoked_(granted.connection, granted.hold);
            return slab;
        }
        if (auto when = deadline.next_look()) {
            released_.wait_until(lock, *when);
        } else {
            released_.wait(lock);
        }
    }
}

void HoldTable::finish_write(std::uint32_t slab, std::uint64_t number) {
    std::lock_guard lock(mutex_);
    slabs_[slab].state = State::published;
    slabs_[slab].number = number;
    slabs_[slab].generation->fetch_add(1);  // even again; releases the bytes written before
}

void HoldTable::announce(std::uint64_t number) {
    std::lock_guard lock(mutex_);
    newest_ = std::max(newest_, number);
}

void HoldTable::abandon_write(std::uint32_t slab) {
    std::lock_guard lock(mutex_);
    slabs_[slab].state = State::torn;
    released_.notify_all();
}

Result<Hold> HoldTable::grant(std::uint64_t number, HoldKind kind, std::uint64_t connection, std::string holder) {
    std::lock_guard lock(mutex_);
    if (kind == HoldKind::serve && slabs_.size() == 1) {
        return Error{Code::unsupported,
                     "a live publication of one slab can't be served in place: use copy, or give the publisher two slabs", {}};
    }
    if (const auto slab = readable(number)) return add(number, *slab, kind, connection, std::move(holder), false);
    return Error{Code::unavailable, fmt::format("version {} can't be read any more: its slab was recycled (newest: {})", number, newest_), {}};
}

std::optional<std::uint32_t> HoldTable::readable(std::uint64_t number) const {
    for (std::uint32_t i = 0; i < slabs_.size(); ++i) {
        const auto& slab = slabs_[i];
        if (slab.state == State::published && slab.number == number && slab.generation->load() % 2 == 0) return i;
    }
    return {};
}

Hold HoldTable::add(std::uint64_t number, std::uint32_t slab, HoldKind kind, std::uint64_t connection, std::string holder, bool offered) {
    const Hold hold{next_hold_++, number, slab, slabs_[slab].generation->load(), kind};
    granted_[hold.id] = {hold, connection, std::move(holder), offered};
    return hold;
}

std::optional<Hold> HoldTable::offer(std::uint64_t number, std::uint64_t connection) {
    std::lock_guard lock(mutex_);
    const auto slab = readable(number);
    if (!slab) return {};
    std::set<std::uint32_t> others;
    std::string holder;
    for (const auto& [id, granted] : granted_) {
        if (granted.connection != connection) continue;
        if (granted.hold.slab == *slab || granted.hold.kind != HoldKind::serve || granted.offered) return {};
        others.insert(granted.hold.slab);
        holder = granted.holder;
    }
    if (others.empty() || others.size() + 1 != slabs_.size()) return {};
    return add(number, *slab, HoldKind::serve, connection, std::move(holder), true);
}

void HoldTable::claim(std::uint64_t hold_id) {
    std::lock_guard lock(mutex_);
    if (auto it = granted_.find(hold_id); it != granted_.end()) it->second.offered = false;
}

void HoldTable::release(std::uint64_t hold_id) {
    std::lock_guard lock(mutex_);
    granted_.erase(hold_id);
    released_.notify_all();
}

void HoldTable::release_connection(std::uint64_t connection) {
    std::lock_guard lock(mutex_);
    for (auto it = granted_.begin(); it != granted_.end();)
        it = it->second.connection == connection ? granted_.erase(it) : std::next(it);
    released_.notify_all();
}

Result<Hold> HoldTable::find(std::uint64_t hold_id) const {
    std::lock_guard lock(mutex_);
    const auto it = granted_.find(hold_id);
    if (it == granted_.end()) return Error{Code::corrupt, "the hold was revoked: the bytes read under it may be mixed", {}};
    return it->second.hold;
}

Status HoldTable::check(std::uint64_t hold_id) const {
    WSYNC_TRY(const Hold hold, find(hold_id));
    const auto now = slabs_[hold.slab].generation->load();
    if (now != hold.generation) {
        return Error{Code::corrupt, fmt::format("the slab was written under the hold (generation {} became {})", hold.generation, now), {}};
    }
    return {};
}

std::uint64_t HoldTable::generation_of(std::uint32_t slab) const { return slabs_[slab].generation->load(); }

std::size_t HoldTable::holds() const {
    std::lock_guard lock(mutex_);
    return granted_.size();
}

std::optional<std::uint64_t> HoldTable::oldest_held() const {
    std::lock_guard lock(mutex_);
    std::optional<std::uint64_t> oldest;
    for (const auto& [id, granted] : granted_) oldest = oldest ? std::min(*oldest, granted.hold.number) : granted.hold.number;
    return oldest;
}

}  // namespace wsync
