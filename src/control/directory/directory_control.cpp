#include "control/directory/directory_control.hpp"

#include "control/directory/directory_store.hpp"
#include "control/keys.hpp"

#include <fmt/format.h>
#include <set>

namespace wsync {
namespace {

class DirectoryLease final : public Lease {
public:
    DirectoryLease(std::shared_ptr<DirectoryStore> store, std::string id) : store_(std::move(store)), id_(std::move(id)) {}
    ~DirectoryLease() override {
        // Its file first: from then on none of the values is seen.
        if (!store_->keeper().end(id_)) return;
        for (const auto& key : keys_) (void)store_->remove_of_lease(key, id_);
    }
    [[nodiscard]] const std::string& id() const override { return id_; }
    [[nodiscard]] bool is_of(const DirectoryStore& store) const { return store_.get() == &store; }
    void note_key(const std::string& key) const {
        const std::lock_guard lock(mutex_);
        keys_.insert(key);
    }

private:
    std::shared_ptr<DirectoryStore> store_;
    std::string id_;
    mutable std::mutex mutex_;
    mutable std::set<std::string> keys_;  // put under it, to be removed with it
};

std::vector<ControlEntry> entries_of(StoredValues values) {
    std::vector<ControlEntry> entries;
    entries.reserve(values.size());
    for (auto& [key, value] : values) entries.push_back({key, std::move(value.record.value), value.record.revision});
    return entries;
}

class DirectoryControl final : public Control {
public:
    explicit DirectoryControl(std::shared_ptr<DirectoryStore> store) : store_(std::move(store)) {}

    Result<std::unique_ptr<Lease>> open_lease(Deadline::clock::duration time_to_live) override {
        WSYNC_TRY(auto id, store_->open_lease(time_to_live));
        return std::unique_ptr<Lease>(new DirectoryLease(store_, std::move(id)));
    }

    Result<Revision> put(const std::string& key, std::span<const std::byte> value, const Lease* lease) override {
        return change(key, std::nullopt, value, lease);
    }

    Result<Revision> compare_and_put(const std::string& key, Revision expected, std::span<const std::byte> value, const Lease* lease) override {
        return change(key, expected, value, lease);
    }

    Result<std::vector<ControlEntry>> read(const std::string& prefix) override {
        WSYNC_TRY_VOID(check_prefix(prefix));
        return store_->seen(prefix).transform(entries_of);
    }

    Status remove(const std::string& key) override { return store_->remove(key); }

    Result<std::unique_ptr<Watch>> watch(const std::string& prefix) override {
        WSYNC_TRY_VOID(check_prefix(prefix));
        return make_directory_watch(store_, prefix);
    }

    [[nodiscard]] std::string address() const override { return "dir:" + store_->folder().path(); }

private:
    Result<Revision> change(const std::string& key, std::optional<Revision> expected, std::span<const std::byte> value, const Lease* lease) {
        if (lease == nullptr) return store_->put(key, expected, value, "");
        const auto* own = dynamic_cast<const DirectoryLease*>(lease);
        if (own == nullptr || !own->is_of(*store_)) {
            return Error{Code::invalid_argument, fmt::format("lease {} is not one of control {}", lease->id(), address()), {}};
        }
        // Before the put, so that a value that is there after an error is removed with the lease too.
        own->note_key(key);
        return store_->put(key, expected, value, lease->id());
    }

    std::shared_ptr<DirectoryStore> store_;
};

}  // namespace

Result<std::shared_ptr<Control>> open_directory_control(DirectoryOptions options) {
    WSYNC_TRY(auto folder, Folder::open(options.path));
    folder.at_step = options.at_step;
    return std::shared_ptr<Control>(new DirectoryControl(std::make_shared<DirectoryStore>(std::move(options), std::move(folder))));
}

}  // namespace wsync
