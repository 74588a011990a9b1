// Whether a lease of somebody still runs, as this process sees it.
//
// It has ended when its file is gone, when its owner is seen to be dead, or when its counter stood still for its time to
// live on this process's own clock, counted from when this process first saw that counter. Thread-safe.
#pragma once

#include "control/directory/lease_keeper.hpp"

#include <functional>

namespace wsync {

using ControlClock = std::function<Deadline::clock::time_point()>;

class LeaseJudge {
public:
    // `keeper` is borrowed and outlives it: its own leases need no judging.
    LeaseJudge(Folder folder, const LeaseKeeper& keeper, ControlClock clock) : folder_(std::move(folder)), keeper_(keeper), clock_(std::move(clock)) {}

    // A lease that ended is ended for everybody: its file is removed (where this process may).
    [[nodiscard]] Result<bool> has_ended(const std::string& id);

private:
    struct Seen {
        std::uint64_t counter = 0;
        Deadline::clock::time_point since{};
    };
    [[nodiscard]] Result<std::optional<LeaseRecord>> read(const std::string& id) const;

    const Folder folder_;
    const LeaseKeeper& keeper_;
    const ControlClock clock_;
    std::mutex mutex_;
    std::map<std::string, Seen, std::less<>> seen_;
};

}  // namespace wsync
