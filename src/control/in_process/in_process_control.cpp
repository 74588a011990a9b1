#include "control/in_process/in_process_control.hpp"

#include "control/keys.hpp"

#include <condition_variable>
#include <fmt/format.h>
#include <map>
#include <mutex>

namespace wsync {
namespace {

struct Value {
    Bytes bytes;
    Revision revision = 0;
    std::string lease;
};

// What the control, its leases and its watches share.
struct Store {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, Value, std::less<>> values;
    Revision last_revision = 0;  // of all keys: a key that comes back is newer than it was
    std::uint64_t last_lease = 0;
};

class InProcessLease final : public Lease {
public:
    InProcessLease(std::shared_ptr<Store> store, std::string id) : store_(std::move(store)), id_(std::move(id)) {}
    ~InProcessLease() override {
        const std::lock_guard lock(store_->mutex);
        if (std::erase_if(store_->values, [&](const auto& item) { return item.second.lease == id_; }) > 0) store_->changed.notify_all();
    }
    [[nodiscard]] const std::string& id() const override { return id_; }
    [[nodiscard]] bool is_of(const Store& store) const { return store_.get() == &store; }

private:
    std::shared_ptr<Store> store_;
    std::string id_;
};

class InProcessWatch final : public Watch {
public:
    InProcessWatch(std::shared_ptr<Store> store, std::string prefix) : store_(std::move(store)), prefix_(std::move(prefix)) {}

    Result<std::vector<ControlEntry>> wait(Deadline deadline) override {
        std::unique_lock lock(store_->mutex);
        while (true) {
            if (std::exchange(woken_, false)) return Error{Code::cancelled, fmt::format("the watch of \"{}\" was woken", prefix_), {}};
            if (auto changes = take_changes(); !changes.empty()) return changes;
            if (deadline.expired()) return Error{Code::timed_out, fmt::format("nothing changed under control key \"{}\"", prefix_), {}};
            if (const auto when = deadline.next_look()) {
                store_->changed.wait_until(lock, *when);
            } else {
                store_->changed.wait(lock);
            }
        }
    }

    void wake() override {
        const std::lock_guard lock(store_->mutex);
        woken_ = true;
        store_->changed.notify_all();
    }

private:
    std::vector<ControlEntry> take_changes() {
        std::vector<ControlEntry> changes;
        for (const auto& [key, value] : store_->values) {
            if (!key_matches(key, prefix_)) continue;
            auto& seen = seen_[key];
            if (seen == value.revision) continue;
            seen = value.revision;
            changes.push_back({key, value.bytes, value.revision});
        }
        for (auto it = seen_.begin(); it != seen_.end();) {
            if (store_->values.contains(it->first)) {
                ++it;
                continue;
            }
            changes.push_back({it->first, {}, 0});
            it = seen_.erase(it);
        }
        return changes;
    }

    std::shared_ptr<Store> store_;
    std::string prefix_;
    std::map<std::string, Revision> seen_;
    bool woken_ = false;  // under the store's mutex
};

class InProcessControl final : public Control {
public:
    explicit InProcessControl(std::string name) : name_(std::move(name)), store_(std::make_shared<Store>()) {}

    Result<std::unique_ptr<Lease>> open_lease(Deadline::clock::duration time_to_live) override {
        if (time_to_live <= Deadline::clock::duration::zero()) return Error{Code::invalid_argument, "a lease's time to live is above zero", {}};
        const std::lock_guard lock(store_->mutex);
        auto id = fmt::format("{}", ++store_->last_lease);
        return std::unique_ptr<Lease>(new InProcessLease(store_, std::move(id)));
    }

    Result<Revision> put(const std::string& key, std::span<const std::byte> value, const Lease* lease) override {
        return change(key, std::nullopt, value, lease);
    }

    Result<Revision> compare_and_put(const std::string& key, Revision expected, std::span<const std::byte> value, const Lease* lease) override {
        return change(key, expected, value, lease);
    }

    Result<std::vector<ControlEntry>> read(const std::string& prefix) override {
        WSYNC_TRY_VOID(check_prefix(prefix));
        const std::lock_guard lock(store_->mutex);
        std::vector<ControlEntry> entries;
        for (const auto& [key, value] : store_->values)
            if (key_matches(key, prefix)) entries.push_back({key, value.bytes, value.revision});
        return entries;
    }

    Status remove(const std::string& key) override {
        WSYNC_TRY_VOID(check_key(key));
        const std::lock_guard lock(store_->mutex);
        if (store_->values.erase(key) > 0) store_->changed.notify_all();
        return {};
    }

    Result<std::unique_ptr<Watch>> watch(const std::string& prefix) override {
        WSYNC_TRY_VOID(check_prefix(prefix));
        return std::unique_ptr<Watch>(new InProcessWatch(store_, prefix));
    }

    [[nodiscard]] std::string address() const override { return "local:" + name_; }

private:
    Result<Revision> change(const std::string& key, std::optional<Revision> expected, std::span<const std::byte> value, const Lease* lease) {
        WSYNC_TRY_VOID(check_key(key));
        WSYNC_TRY_VOID(check_value(key, value));
        const auto* own = dynamic_cast<const InProcessLease*>(lease);
        if (lease != nullptr && (own == nullptr || !own->is_of(*store_))) {
            return Error{Code::invalid_argument, fmt::format("lease {} is not one of control {}", lease->id(), address()), {}};
        }
        const std::lock_guard lock(store_->mutex);
        const auto found = store_->values.find(key);
        const Revision current = found == store_->values.end() ? 0 : found->second.revision;
        if (expected && *expected != current) return revision_mismatch(key, *expected, current);
        store_->values[key] = Value{Bytes(value.begin(), value.end()), ++store_->last_revision, lease == nullptr ? "" : lease->id()};
        store_->changed.notify_all();
        return store_->last_revision;
    }

    std::string name_;
    std::shared_ptr<Store> store_;
};

}  // namespace

std::shared_ptr<Control> make_in_process_control(std::string name) { return std::make_shared<InProcessControl>(std::move(name)); }

}  // namespace wsync
