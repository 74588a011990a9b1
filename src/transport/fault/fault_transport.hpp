// Any transport, with faults: what a bad wire, a slow peer or a death at the wrong moment would do.
//
// Decides each transfer's fate when it is accepted, by its number (counted from 1 over all channels of the transport,
// in the order of acceptance) and the seed alone: two runs that submit the same transfers in the same order suffer the
// same. Every ticket still completes exactly once. Where several faults hit one transfer, the first of fail, drop,
// corrupt, delay, reorder counts. Without any fault it is transparent.
#pragma once

#include "transport/transport.hpp"

#include <vector>

namespace wsync {

struct FaultPolicy {
    std::uint64_t seed = 1;

    // A fault hits a transfer with this probability, and those whose numbers are listed.
    struct Fault {
        double probability = 0;
        std::vector<std::uint64_t> at{};
    };
    Fault fail{};      // completes with io_error; nothing is moved
    Fault drop{};      // never completes: wait() answers timed_out at its deadline; close() cancels it
    Fault corrupt{};   // one byte of the local target is flipped after a read; a digest is taken of what is there then
    Fault delay{};     // the completion comes `delay_by` later
    Fault reorder{};   // the completion comes after that of a later transfer, where there is one

    Deadline::clock::duration delay_by = std::chrono::milliseconds(20);
    std::uint64_t kill_at = 0;  // this process kills itself (SIGKILL) when it submits this transfer; 0: never
};

[[nodiscard]] std::unique_ptr<Transport> make_fault_transport(std::unique_ptr<Transport> inner, FaultPolicy policy);

}  // namespace wsync
