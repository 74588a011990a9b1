#include "control/directory/lease_keeper.hpp"

#include "base/secret.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

namespace wsync {

std::string lease_path(std::string_view id) { return fmt::format("leases/{}", id); }

LeaseKeeper::LeaseKeeper(Folder folder) : folder_(std::move(folder)), process_(::getpid()), renewal_(std::make_unique<Renewal>()) {}

LeaseKeeper::~LeaseKeeper() {
    // A forked child has a copy of this object, but neither its thread nor its leases; what the thread waits in can't be
    // destroyed without it, so the copy is left where it is.
    if (::getpid() != process_) {
        (void)renewal_.release();
        return;
    }
    {
        const std::lock_guard lock(renewal_->mutex);
        renewal_->stopping = true;
    }
    renewal_->wake.notify_all();
    if (renewal_->thread.joinable()) renewal_->thread.join();
}

Result<std::string> LeaseKeeper::open(Deadline::clock::duration time_to_live) {
    if (time_to_live < std::chrono::milliseconds(30) || time_to_live > std::chrono::hours(24)) {
        return Error{Code::invalid_argument, "a lease's time to live is between 30 ms and 24 h (it is renewed three times in it)", {}};
    }
    WSYNC_TRY(auto nonce, random_nonce());
    WSYNC_TRY(auto self, current_process());
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time_to_live).count();
    const LeaseRecord record{digest_of(nonce).hex(), std::move(self), static_cast<std::uint64_t>(ns), 0};
    WSYNC_TRY_VOID(folder_.write_file(lease_path(record.id), encode(record)));
    const std::lock_guard lock(renewal_->mutex);
    const auto period = time_to_live / 3;
    renewal_->owned[record.id] = Owned{0, lease_counter_offset(record), period, Deadline::clock::now() + period, false};
    if (!renewal_->thread.joinable()) renewal_->thread = std::thread([this] { renew_until_stopped(); });
    renewal_->wake.notify_all();
    return record.id;
}

bool LeaseKeeper::end(const std::string& id) {
    if (::getpid() != process_) return false;
    {
        const std::lock_guard lock(renewal_->mutex);
        renewal_->owned.erase(id);
    }
    // Where it fails the lease ends by not being renewed.
    (void)folder_.remove_file(lease_path(id));
    return true;
}

bool LeaseKeeper::owns(const std::string& id) const {
    const std::lock_guard lock(renewal_->mutex);
    const auto found = renewal_->owned.find(id);
    return found != renewal_->owned.end() && !found->second.lost;
}

Status LeaseKeeper::check(const std::string& id) const {
    bool lost = false;
    {
        const std::lock_guard lock(renewal_->mutex);
        const auto found = renewal_->owned.find(id);
        if (found == renewal_->owned.end()) return Error{Code::invalid_argument, fmt::format("lease {} is not one of control dir:{}", id, folder_.path()), {}};
        lost = found->second.lost;
    }
    if (!lost) {
        WSYNC_TRY(const auto file, folder_.read_file(lease_path(id), kMaxLeaseFileBytes));
        lost = !file;
    }
    if (!lost) return {};
    return Error{Code::unavailable,
                 fmt::format("lease {} at {} has ended: it was not renewed in time (was this process stopped?), and others removed it; open a new one",
                             id, folder_.path()),
                 {}};
}

void LeaseKeeper::renew_until_stopped() {
    std::unique_lock lock(renewal_->mutex);
    while (!renewal_->stopping) {
        auto next = Deadline::clock::time_point::max();
        std::string id;
        for (const auto& [name, lease] : renewal_->owned) {
            if (lease.lost || lease.due >= next) continue;
            next = lease.due;
            id = name;
        }
        if (id.empty()) {
            renewal_->wake.wait(lock);
            continue;
        }
        if (next > Deadline::clock::now()) {
            renewal_->wake.wait_until(lock, next);
            continue;
        }
        auto& lease = renewal_->owned[id];
        // Not "due + period": after a stop of the process one renewal is enough.
        lease.due = Deadline::clock::now() + lease.period;
        const auto counter = encode_lease_counter(++lease.counter);
        const auto offset = lease.counter_offset;
        lock.unlock();
        const auto written = folder_.overwrite(lease_path(id), offset, counter);
        lock.lock();
        // Any other failure may pass; the lease is lost when its file is.
        if (const auto found = renewal_->owned.find(id); found != renewal_->owned.end() && written && !*written) found->second.lost = true;
    }
}

}  // namespace wsync
