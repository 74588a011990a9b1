#include "control/directory/directory_store.hpp"

#include "control/directory/leftovers.hpp"
#include "control/keys.hpp"

namespace wsync {

Result<std::string> DirectoryStore::open_lease(Deadline::clock::duration time_to_live) {
    WSYNC_TRY(auto files, folder_.list("leases"));
    for (const auto& file : files)
        if (is_key_segment(file.name)) (void)judge_.has_ended(file.name);
    remove_unfinished_values(folder_);
    WSYNC_TRY(const auto lock, KeyLock::take(folder_, "leases", lock_deadline()));  // one makes a lease, or tidies, at a time
    remove_unfinished_leases(folder_);
    return keeper_.open(time_to_live);
}

Result<Revision> DirectoryStore::put(const std::string& key, std::optional<Revision> expected, std::span<const std::byte> value,
                                     const std::string& lease) {
    WSYNC_TRY_VOID(check_key(key));
    WSYNC_TRY_VOID(check_value(key, value));
    if (!lease.empty()) WSYNC_TRY_VOID(keeper_.check(lease));
    WSYNC_TRY(auto lock, KeyLock::take(folder_, key, lock_deadline()));
    WSYNC_TRY(auto present, read_value(folder_, key));
    const Revision stored = present ? present->revision : 0;
    if (expected) {
        Revision visible = stored;
        if (present && !present->lease.empty()) {
            WSYNC_TRY(const bool ended, judge_.has_ended(present->lease));
            if (ended) visible = 0;
        }
        if (visible != *expected) return revision_mismatch(key, *expected, visible);
    }
    const ValueRecord record{key, lock.after(stored), lease, Bytes(value.begin(), value.end())};
    WSYNC_TRY_VOID(folder_.write_file(value_path(key), encode(record)));
    return record.revision;
}

Status DirectoryStore::remove(const std::string& key) {
    WSYNC_TRY_VOID(check_key(key));
    WSYNC_TRY(auto lock, KeyLock::take(folder_, key, lock_deadline()));
    // A torn value can be removed as well: that is the remedy.
    const auto present = read_value(folder_, key);
    if (present && *present) WSYNC_TRY_VOID(lock.note_removal((*present)->revision));
    WSYNC_TRY([[maybe_unused]] const bool removed, folder_.remove_file(value_path(key)));
    return {};
}

Status DirectoryStore::remove_of_lease(const std::string& key, const std::string& lease) {
    WSYNC_TRY(auto lock, KeyLock::take(folder_, key, lock_deadline()));
    WSYNC_TRY(auto present, read_value(folder_, key));
    if (!present || present->lease != lease) return {};
    WSYNC_TRY_VOID(lock.note_removal(present->revision));
    WSYNC_TRY([[maybe_unused]] const bool removed, folder_.remove_file(value_path(key)));
    return {};
}

Result<StoredValues> DirectoryStore::seen(std::string_view prefix, const ScanOptions& options) {
    WSYNC_TRY(auto values, scan_values(folder_, prefix, options));
    for (auto at = values.begin(); at != values.end();) {
        const auto& lease = at->second.record.lease;
        bool ended = false;
        if (!lease.empty()) {
            WSYNC_TRY(ended, judge_.has_ended(lease));
        }
        if (!ended) {
            ++at;
            continue;
        }
        // Tidying, not truth: a value whose lease has ended is not seen whether its file is there or not. So it doesn't wait.
        if (auto lock = KeyLock::take(folder_, at->first, Deadline::now())) {
            if (auto present = read_value(folder_, at->first); present && *present && (*present)->lease == lease) {
                if (lock->note_removal((*present)->revision)) (void)folder_.remove_file(value_path(at->first));
            }
        }
        at = values.erase(at);
    }
    return values;
}

}  // namespace wsync
