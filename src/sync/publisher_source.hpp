// A live publisher as a source: one link for each rank.
#pragma once

#include "control/control.hpp"
#include "sync/epoch.hpp"
#include "sync/publication.hpp"
#include "sync/source.hpp"

namespace wsync {

struct PublisherSourceOptions {
    std::string name;
    std::string receiver;                    // for the publisher's messages
    std::vector<std::string> transports;     // by preference: "shm", "tcp"
};

// Links to every rank of the epoch and fetches layout and placements. Error{unavailable} until all ranks have come.
[[nodiscard]] Result<std::unique_ptr<Source>> connect_publisher(const PublisherSourceOptions& options, Control& control, const EpochRecord& epoch,
                                                                const TransportFactory& transports, Deadline deadline);

}  // namespace wsync
