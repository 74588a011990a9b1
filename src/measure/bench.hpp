// The bench: the methods side by side, round by round, beside the limits of the same machine in the same rounds.
#pragma once

#include "measure/fleet.hpp"
#include "measure/limits.hpp"

namespace wsync {

struct BenchOptions {
    Layout source;                          // its ranks are the trainer's processes
    std::string model;                      // for the report
    std::string checkpoint;                 // real weights; empty: drawn
    std::vector<std::string> methods = {"shm_map", "shm_copy", "tcp", "disk"};
    unsigned receivers = 1;
    unsigned threads = 2;                   // of each receiver
    int runs = 7;                           // steady rounds, behind the first
    std::string directory = ".";            // where disk methods write
    bool huge_pages = true;
    std::uint64_t max_probe_bytes = std::uint64_t{1} << 30;
    std::string kernels;                    // empty: the set that a probe of the copy with digest finds best here
    bool audit = true;                      // compare digests of both sides' memory after the first and the last round
    std::function<void(double fraction, std::string_view what)> progress;
    const std::atomic<bool>* interrupted = nullptr;  // ends the bench as soon as it is true; borrowed
};

struct Spread {
    double min = 0, median = 0, max = 0;
};
[[nodiscard]] Spread spread_of(std::vector<double> values);

// One part of a method, alone beside its own limit.
struct PartResult {
    std::string id;                         // shm_map: "first", "first_whole", "populate"; disk: "write_new", "write_recycled", "read_cold", "read_warm"
    std::string limit;                      // "W", "W2", "R", "P"; empty: none
    std::vector<double> seconds;            // of each round
    std::vector<double> shares;             // of the limit, of each round
    double bytes_per_second = 0;            // at the median; 0 where nothing moves
};

struct MethodResult {
    std::string id, transport, verified;
    std::uint64_t bytes = 0;                // of the model
    std::uint64_t bytes_moved = 0;          // by one receiver in one steady sync; disk: written and read
    StageSeconds first;
    StageSeconds steady;                    // medians
    std::vector<double> steady_total;       // each round, slowest receiver: all stages
    std::vector<double> steady_hand_over;   // record seen to active
    Spread seconds, hand_over;
    double bytes_per_second = 0;            // all receivers' bytes over the hand-over; disk: over write and read
    std::string limit;                      // "M", "M2", "T", "W2+R"; empty: none
    std::vector<double> shares;             // of each round
    double share_of_limit = 0;              // their median
    std::vector<PartResult> parts;
    // Peaks beside slabs, by the ledger; and by how much the kernel's RssAnon grew over the same steady syncs.
    std::uint64_t trainer_extra = 0, receiver_extra = 0;
    std::uint64_t trainer_rss_growth = 0, receiver_rss_growth = 0;
};

struct BenchResult {
    std::string model, machine, disk_device, disk_filesystem, disk_engine, kernels;
    std::uint64_t bytes = 0, tensors = 0;
    unsigned trainers = 1, receivers = 1, threads = 1;
    std::vector<Limit> limits;
    std::vector<MethodResult> methods;
    std::uint64_t trainer_slab_bytes = 0, receiver_slab_bytes = 0, trainer_page_table_bytes = 0;
    std::vector<double> publish_seconds;    // of the trainer: begin_write, snapshot, digests, record
};

// Error{resource_exhausted} before anything is allocated when the machine's memory does not hold it; {cancelled}.
[[nodiscard]] Result<BenchResult> run_bench(const BenchOptions& options);
// "AMD EPYC (family 25 model 17), 2 processors, 23.5 GB, Linux 6.18"
[[nodiscard]] std::string describe_machine();
// The document "wsync.bench/1".
[[nodiscard]] Json to_json(const BenchResult& result);
[[nodiscard]] Json to_json(const std::vector<Limit>& limits);

}  // namespace wsync
