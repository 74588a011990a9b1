// What a directory control, its leases and its watches share: the values, with those of ended leases taken out.
#pragma once

#include "control/directory/directory_control.hpp"
#include "control/directory/key_lock.hpp"
#include "control/directory/value_tree.hpp"

namespace wsync {

class DirectoryStore {
public:
    DirectoryStore(DirectoryOptions options, Folder folder)
        : options_(std::move(options)), folder_(std::move(folder)), keeper_(folder_), judge_(folder_, keeper_, options_.clock) {}

    [[nodiscard]] const DirectoryOptions& options() const noexcept { return options_; }
    [[nodiscard]] const Folder& folder() const noexcept { return folder_; }
    [[nodiscard]] LeaseKeeper& keeper() noexcept { return keeper_; }

    // Its id. What crashed processes left, of leases and of values, is removed on the way.
    [[nodiscard]] Result<std::string> open_lease(Deadline::clock::duration time_to_live);
    // `expected` nothing: whatever is there is replaced. An empty lease: none.
    [[nodiscard]] Result<Revision> put(const std::string& key, std::optional<Revision> expected, std::span<const std::byte> value,
                                       const std::string& lease);
    [[nodiscard]] Status remove(const std::string& key);
    // Only while the value is under this lease.
    [[nodiscard]] Status remove_of_lease(const std::string& key, const std::string& lease);
    // What is seen: values of ended leases are left out, and their files removed where this process may.
    [[nodiscard]] Result<StoredValues> seen(std::string_view prefix, const ScanOptions& options = {});

private:
    [[nodiscard]] Deadline lock_deadline() const { return Deadline(options_.lock_patience); }

    const DirectoryOptions options_;
    const Folder folder_;
    LeaseKeeper keeper_;
    LeaseJudge judge_;
};

// One thread, but wake().
[[nodiscard]] Result<std::unique_ptr<Watch>> make_directory_watch(std::shared_ptr<DirectoryStore> store, std::string prefix);

}  // namespace wsync
