#include "control/directory/key_lock.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <sys/file.h>
#include <thread>

namespace wsync {
namespace {

constexpr unsigned kLocks = 64;

std::string lock_of(std::string_view key) {
    return fmt::format("locks/{:02x}", static_cast<unsigned>(digest_of(as_bytes_of(key)).bytes[0]) % kLocks);
}

}  // namespace

Result<KeyLock> KeyLock::take(const Folder& folder, std::string_view key, Deadline deadline) {
    const auto relative = lock_of(key);
    WSYNC_TRY(auto file, folder.open_file(relative));
    KeyLock lock(std::move(file), folder.path_of(relative));
    // Tried again and again, since a blocking flock would wait for ever for a holder that is stopped.
    for (auto pause = std::chrono::microseconds(20); ::flock(lock.file_.get(), LOCK_EX | LOCK_NB) != 0;) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return folder.error(errno, "locking", relative);
        if (deadline.expired()) {
            return Error{Code::timed_out,
                         fmt::format("another process holds {} (lslocks names it): is it stopped? Continue or end it", lock.path_), {}};
        }
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, std::chrono::microseconds(2000));
    }
    Bytes bytes(kMaxLockFileBytes);
    std::size_t got = 0;
    if (const int failed = read_some(lock.file_.get(), bytes, got)) return folder.error(failed, "reading", relative);
    WSYNC_TRY(auto record, decode_lock(std::span(bytes).first(got), lock.path_));
    lock.highest_removed_ = record.highest_removed;
    return lock;
}

Status KeyLock::note_removal(Revision current) {
    if (current <= highest_removed_) return {};
    highest_removed_ = current;
    if (const int failed = write_all(file_.get(), encode(LockRecord{current}), 0)) return errno_error(failed, fmt::format("writing {}", path_));
    return {};
}

}  // namespace wsync
