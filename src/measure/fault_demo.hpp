// Faults injected into a real fleet, and what came of them: each is loud, leaves the old weights serving, and heals.
#pragma once

#include "measure/fleet.hpp"

namespace wsync {

struct FaultOutcome {
    std::string what;       // "a byte flipped on the wire"
    std::string outcome;    // what was seen, in words
    bool silent = false;    // true: wrong bytes were served, or the failure was not reported
    double seconds = 0;
};

struct FaultDemoOptions {
    Layout source;
    std::string checkpoint;
    std::function<void(double fraction, std::string_view what)> progress;
    const std::atomic<bool>* interrupted = nullptr;  // borrowed
};

// A byte flipped on the wire; a receiver killed in mid transfer; the trainer killed in mid publication. An Error is a
// fleet that could not be run at all; a fault that was not handled is an outcome with silent = true.
[[nodiscard]] Result<std::vector<FaultOutcome>> run_fault_demo(const FaultDemoOptions& options);

}  // namespace wsync
