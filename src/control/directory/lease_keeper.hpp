// The leases that this process owns in a control folder: it renews them, in a thread of its own.
//
// A lease's file is the lease: who removes it has ended the lease, for everybody and for good. The owner finds that out at
// its next renewal. Thread-safe.
#pragma once

#include "control/directory/folder.hpp"
#include "control/directory/records.hpp"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace wsync {

// Of the lease's file, below the folder.
[[nodiscard]] std::string lease_path(std::string_view id);

class LeaseKeeper {
public:
    explicit LeaseKeeper(Folder folder);
    ~LeaseKeeper();
    LeaseKeeper(const LeaseKeeper&) = delete;
    LeaseKeeper& operator=(const LeaseKeeper&) = delete;

    // The new lease's id. Durable.
    [[nodiscard]] Result<std::string> open(Deadline::clock::duration time_to_live);
    // Removes the lease's file. False in a forked child, whose leases are its parent's.
    bool end(const std::string& id);
    [[nodiscard]] bool owns(const std::string& id) const;
    // Looks at the file. Error{invalid_argument}: not one of ours. Error{unavailable}: it ended while this process was
    // stopped or cut off.
    [[nodiscard]] Status check(const std::string& id) const;

private:
    struct Owned {
        std::uint64_t counter = 0;
        std::size_t counter_offset = 0;
        Deadline::clock::duration period{};
        Deadline::clock::time_point due{};
        bool lost = false;
    };
    // What the thread works on.
    struct Renewal {
        std::mutex mutex;
        std::condition_variable wake;
        std::map<std::string, Owned, std::less<>> owned;
        bool stopping = false;
        std::thread thread;  // started at the first lease
    };
    void renew_until_stopped();

    const Folder folder_;
    const pid_t process_;
    std::unique_ptr<Renewal> renewal_;
};

}  // namespace wsync
