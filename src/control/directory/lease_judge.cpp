#include "control/directory/lease_judge.hpp"

#include <fmt/format.h>

namespace wsync {

Result<std::optional<LeaseRecord>> LeaseJudge::read(const std::string& id) const {
    const auto relative = lease_path(id);
    const auto path = folder_.path_of(relative);
    for (int attempt = 0; attempt < 100; ++attempt) {
        WSYNC_TRY(auto bytes, folder_.read_file(relative, kMaxLeaseFileBytes));
        if (!bytes) return std::optional<LeaseRecord>();
        WSYNC_TRY(auto record, decode_lease(*bytes, path));
        if (!record) {
            std::this_thread::yield();  // its owner is writing the counter
            continue;
        }
        if (record->id != id) return Error{Code::corrupt, fmt::format("{} is the file of lease {}: remove it", path, record->id), {}};
        return record;
    }
    return Error{Code::corrupt, fmt::format("{} has a torn counter: remove it", path), {}};
}

Result<bool> LeaseJudge::has_ended(const std::string& id) {
    if (keeper_.owns(id)) return false;
    WSYNC_TRY(auto record, read(id));
    const std::lock_guard lock(mutex_);
    if (!record) {
        seen_.erase(id);
        return true;
    }
    bool ended = liveness_of(record->owner) == Liveness::dead;
    if (!ended) {
        const auto now = clock_();
        const auto [at, fresh] = seen_.try_emplace(id, Seen{record->counter, now});
        if (!fresh && at->second.counter != record->counter) at->second = Seen{record->counter, now};
        ended = now - at->second.since >= std::chrono::nanoseconds(record->time_to_live_ns);
    }
    if (ended) {
        // Where it can't be removed (a reader without permission) each reader judges for himself.
        if (folder_.remove_file(lease_path(id))) seen_.erase(id);
    }
    return ended;
}

}  // namespace wsync
