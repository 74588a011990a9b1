// What was measured on this machine, as far as a prediction needs it: read from a wsync.bench/1 document.
//
// MeasuredFigures is the seam between a measurement and everything that shows it beside a prediction: a runner may fill
// it live as well. Plain values; the text is untrusted: it is bounded, checked, and refused with an Error that says where.
#pragma once

#include "wsync/predict/profile.hpp"

#include <map>

namespace wsync {

struct MeasuredMethod {
    std::string id;                           // "shm_map", "shm_copy", "tcp", "disk"
    std::string transport;                    // as the bench named it, may be empty
    unsigned receivers = 1;                   // that received at once
    std::uint64_t bytes = 0;                  // of the model that was moved
    double seconds = 0;                       // median steady sync, from the record seen to active; disk: and the write before
    std::optional<double> write_seconds;      // the part of `seconds` before a receiver could begin (disk)
    std::optional<double> trainer_seconds;    // median of what the trainer did before `seconds` begin: snapshot, digest
    std::optional<double> first_seconds;      // of the first sync, set-up included
    std::optional<std::uint64_t> bytes_moved; // to one receiver
};

// What `wsync explain ipc` found of a handle.
struct MeasuredHandle {
    std::uint64_t bytes = 0;                  // of the handle
    std::uint64_t opens_bytes = 0;            // that it gave access to
    std::uint64_t moved_bytes = 0;            // of those, by opening it
    double open_seconds = 0;                  // median: attach and map
};

// What `wsync explain fsdp` found of a sharded trainer's flow.
struct MeasuredGather {
    unsigned ranks = 0;
    std::uint64_t model_bytes = 0;
    std::uint64_t received_bytes = 0;         // by the rank that received most
    double seconds = 0;                       // of the slowest rank, steady
    std::uint64_t shard_bytes = 0, extra_bytes = 0;  // of the rank with the largest shards; what it held beside them
    std::uint64_t handle_bytes = 0;           // of all handles at the coordinator
    double gathered_seconds = 0, direct_seconds = 0;  // to loaded, steady: from the last shards there with the gather; from the asking, by plan
};

struct MeasuredFigures {
    std::string source;                             // the document's name: "wsync-bench.json"; or that it was measured live
    std::map<std::string, MeasuredMethod> methods;  // by id
    std::map<std::string, double> limits;           // bytes per second by name: "M", "T", "W", "R"
    std::optional<MeasuredHandle> handle = {};
    std::optional<MeasuredGather> gather = {};

    [[nodiscard]] const MeasuredMethod* find(std::string_view id) const;
};

// The text of a wsync.bench/1 (or wsync.limits/1) document (at most 16 MiB). Error{corrupt}: not JSON, or a figure that can't be one;
// Error{unsupported}: another schema or major version; the message names `source`.
[[nodiscard]] Result<MeasuredFigures> measured_from_bench(std::string_view json_text, std::string source);
// Methods shm_map, shm_copy, tcp and disk with the measured rates; one that was not run takes the machine's limit if that
// was measured. Error{invalid_argument} if the document holds neither.
[[nodiscard]] Result<Profile> measured_profile(const MeasuredFigures& figures);

}  // namespace wsync
