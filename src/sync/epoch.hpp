// Taking a name: which publisher may publish under it, in which epoch.
//
// Opening takes the next epoch by compare-and-put and so fences the older publisher. A live rival is an Error. All ranks
// of one run share an epoch: the first one takes it, the others join while nothing was published in it.
#pragma once

#include "control/control.hpp"
#include "sync/records.hpp"

namespace wsync {

struct EpochClaim {
    std::string name;
    std::string run;              // the same on all ranks; made up when empty and world is 1
    std::uint32_t rank = 0, world = 1;
    Digest layout{};
    Deadline deadline = std::chrono::seconds(15);  // how long to wait for an older publisher's lease to end
};

// Error{invalid_argument}: other world or layout than the run's first rank; {unavailable}: a live rival, named.
[[nodiscard]] Result<EpochRecord> open_epoch(Control& control, const EpochClaim& claim);

// The name's epoch record; Error{not_found} when nobody ever published it.
[[nodiscard]] Result<EpochRecord> read_epoch(Control& control, const std::string& name);
// The newest whole version; nothing when there is none yet.
[[nodiscard]] Result<std::optional<ControlEntry>> read_one(Control& control, const std::string& key);
[[nodiscard]] Result<std::optional<HeadRecord>> read_head(Control& control, const std::string& name);
[[nodiscard]] Result<RankRecord> read_rank(Control& control, const std::string& name, std::uint64_t epoch, std::uint32_t rank);
// Error{unavailable} "fenced by epoch E" when another publisher has taken the name.
[[nodiscard]] Status check_epoch(Control& control, const std::string& name, std::uint64_t epoch);

// Removes what older epochs have left under the name, as far as it can: once a version of `epoch` is there, nobody reads it.
void remove_older_epochs(Control& control, const std::string& name, std::uint64_t epoch);

}  // namespace wsync
