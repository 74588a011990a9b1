// The tutorial's flow for a sharded trainer, by real processes, beside the same without its gather.
//
// N ranks hold shards; each gathers whole tensors from all of them through wsync's own transports, makes a handle of what
// it gathered, and a coordinator (this process) collects the handles; an engine opens them and loads. Then the engine
// gets the same bytes shard by shard, by plan. What the flow makes hard is measured on the way: lifetimes (a hold and
// the write that waits for it), the memory spike, and who waits for whom. Start it while the process has one thread.
#pragma once

#include "measure/bench.hpp"

namespace wsync {

struct ExplainFsdpOptions {
    Manifest manifest;
    std::string model;                      // for the report
    std::uint32_t ranks = 4;
    bool whole_tensors = true;              // tensor i on rank i mod N, as the tutorial draws it; else FSDP's cut of dimension 0
    std::string transport = "shm";          // of the gather and of the plan: "shm", "tcp"
    double late_seconds = 0.2;              // by which the last rank is made late, to see who waits; 0: not
    double hold_seconds = 0.3;              // for how long the engine keeps its holds while the trainer wants to write
    bool huge_pages = true;
    std::function<void(double fraction, std::string_view what)> progress;
    const std::atomic<bool>* interrupted = nullptr;  // ends it as soon as it is true; borrowed
};

// What one process holds: by wsync's ledger (slabs and the rest), and by the kernel.
struct HeldMemory {
    std::uint64_t ledger = 0, rss_anon = 0, rss_shmem = 0;
};

struct FsdpRank {
    std::int64_t pid = 0;
    std::uint64_t shards = 0, shard_bytes = 0;
    std::uint64_t handle_bytes = 0;
    std::uint64_t bytes_from_others = 0;    // that one gather moved into it
    double allocate_seconds = 0;            // room for whole tensors, once
    double first_gather_seconds = 0, gather_seconds = 0;  // from the last rank's shards there, to whole tensors here
    double waited_seconds = 0;              // for the slowest rank, its own shards being ready
    double hold_wait_seconds = 0;           // its next gather, for the engine's hold
    double waited_without_gather_seconds = 0;  // the same step without a gather
    std::string verification;               // of the gather
    HeldMemory before, peak;                // shards alone; and with whole tensors beside them
    std::uint64_t extra_without_gather = 0; // the ledger's growth over the same sync without a gather
};

// One way from shards to the engine's own tensors.
struct FsdpWay {
    double first_seconds = 0, seconds = 0;  // to loaded: from the last rank's shards there (gathered), from the engine's asking (direct)
    std::uint64_t bytes_moved = 0;          // by all processes together, for one version
    std::uint64_t extra_bytes = 0;          // on all ranks together, beside their shards: the ledger
    std::string verification;
};

struct FsdpExplanation {
    std::string machine, model, layout, transport;
    std::uint64_t bytes = 0, tensors = 0;
    std::vector<FsdpRank> ranks;
    std::uint32_t late_rank = 0;
    double late_seconds = 0;
    std::uint64_t handles = 0, handle_bytes = 0;  // that came to the coordinator
    double collect_seconds = 0;             // from the first handle there to the last one
    std::uint32_t last_handle = 0;          // whose it was
    Spread open_seconds;                    // of each handle, at the engine
    double load_seconds = 0;                // the engine's copy into its own tensors, out of one of them
    double hold_seconds = 0;                // for how long the engine was asked to keep its holds
    std::string refused_write;              // what a write with a short deadline was told
    FsdpWay gathered, direct;
    std::uint64_t engine_bytes = 0;
    bool verified = false;                  // every handle's bytes and the engine's, against each owner's, both ways
};

// Error{invalid_argument}: a rank would hold nothing; {resource_exhausted}; {corrupt}: bytes that differ.
[[nodiscard]] Result<FsdpExplanation> explain_fsdp(const ExplainFsdpOptions& options);
// The document "wsync.explain_fsdp/1".
[[nodiscard]] Json to_json(const FsdpExplanation& explanation);

}  // namespace wsync
