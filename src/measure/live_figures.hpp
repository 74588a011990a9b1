// A short measurement of everything that the tutorial's walk has a column for, on a model that fits any machine.
//
// The same runners as bench and explain, with fewer rounds: real processes, every byte verified. Start it while the
// process has one thread; nothing stays behind.
#pragma once

#include "measure/bench.hpp"
#include "wsync/predict/measured.hpp"

namespace wsync {

struct LiveOptions {
    std::uint64_t bytes = 100'000'000;      // of the model; a multiple of 2
    int runs = 3;                           // steady rounds
    std::uint32_t ranks = 4;                // of the sharded trainer
    std::string directory = ".";            // where the disk method writes; empty: it is left out
    std::function<void(double fraction, std::string_view what)> progress;
    const std::atomic<bool>* interrupted = nullptr;  // ends it as soon as it is true; borrowed
};

[[nodiscard]] Result<MeasuredFigures> measure_live(const LiveOptions& options);

}  // namespace wsync
