// A fleet on one machine: trainer ranks and receivers, each a process of its own, synced by real sessions.
//
// What bench, demo and explain run. Every process works in a scratch directory that the fleet makes and removes; nothing
// stays behind, however it ends. Not thread-safe; start it while the process has one thread.
#pragma once

#include "measure/child.hpp"
#include "measure/scratch_folder.hpp"
#include "wsync/model/layout.hpp"
#include "wsync/report/sync_report.hpp"
#include "wsync/session/session.hpp"

#include <map>

namespace wsync {

// The ids of the methods that are measured.
inline constexpr std::string_view kMethods[] = {"shm_map", "shm_copy", "tcp", "disk"};

struct FleetOptions {
    Layout source;                          // its ranks are the trainer's processes
    std::string checkpoint;                 // real weights: a safetensors file or directory; empty: drawn as trained weights are
    std::uint64_t seed = 1;
    unsigned receivers = 1;
    unsigned threads = 1;                   // of each process
    std::vector<std::string> methods;       // what the receivers are prepared for
    std::string disk_directory;             // where the disk method writes; a folder of its own inside
    std::string kernels;                    // empty: the processor's table
    bool huge_pages = true;
    std::function<void(double fraction, std::string_view what)> progress;
    const std::atomic<bool>* interrupted = nullptr;  // once true, nobody is waited for (Error{cancelled}); borrowed
    // Run in the receiver or trainer process before its session opens; for faults. May be null.
    std::function<void(SessionOptions&, unsigned index)> prepare_receiver, prepare_trainer;
};

struct Published {
    std::string label;
    std::uint64_t number = 0;
    double seconds = 0;                     // begin_write to publish, snapshot included
    double blocked_seconds = 0;
};

// One receiver's sync, or the error it met.
struct Synced {
    std::optional<Error> error;
    std::string version, method, transport, verification;
    bool first = false;
    StageSeconds stages;
    std::uint64_t bytes_needed = 0, bytes_moved = 0;
    std::uint64_t peak_extra_bytes = 0;     // beside slabs: ledger
    std::uint64_t rss_growth_bytes = 0;     // the kernel's RssAnon over the same sync
};

// A receiver that comes new, by a method that maps.
struct FirstMap {
    double whole_seconds = 0;               // opening a session, finding the publisher, the plan, the map: to the version active
    double hand_over_seconds = 0;           // of these: from the record seen to the version active, its pages untouched
    double populate_seconds = 0;            // then: every page present
    std::uint64_t bytes = 0;                // that were populated
};

struct ProcessMemory {
    std::uint64_t rss_anon = 0, rss_shmem = 0, page_tables = 0;
    std::uint64_t slab_bytes = 0;           // of the ledger
    std::uint64_t extra_bytes = 0;          // the rest of it: what was taken since the last asking, at its peak
};

struct FleetPlace;

class Fleet {
public:
    // Error{resource_exhausted}: "this needs N GB ..., there are M": computed before anything is allocated.
    [[nodiscard]] static Result<std::unique_ptr<Fleet>> start(FleetOptions options);
    ~Fleet();

    enum class Save : std::uint8_t { no, recycled, new_files };
    // Every trainer rank takes a step and publishes; also to disk, unless Save::no.
    [[nodiscard]] Result<Published> publish(std::uint64_t step, Save save, Deadline deadline = std::chrono::minutes(5));
    // All receivers at once. The error of one is in its entry.
    [[nodiscard]] Result<std::vector<Synced>> sync(const std::string& method, Deadline deadline = std::chrono::minutes(5));
    // Each receiver opens the version once more, from nothing, populates it and closes it. The slowest one's figures.
    [[nodiscard]] Result<FirstMap> map_anew(Deadline deadline = std::chrono::minutes(5));
    // Brings the files of the newest version on disk into the page cache.
    [[nodiscard]] Status warm_files() const;
    // Digests of what trainer and receivers hold, taken apart from wsync's own verification: Error{corrupt} names what differs.
    [[nodiscard]] Status audit(const std::string& method);
    // Of trainer rank 0. Starts its ledger's peak anew.
    [[nodiscard]] Result<ProcessMemory> trainer_memory();
    [[nodiscard]] Result<ProcessMemory> receiver_memory(unsigned index);

    [[nodiscard]] Child& trainer(unsigned rank = 0) { return trainers_[rank]; }
    [[nodiscard]] Child& receiver(unsigned index) { return receivers_[index]; }
    [[nodiscard]] std::uint64_t model_bytes() const { return options_.source.manifest().bytes(); }
    // A trainer that died comes again: a new epoch.
    [[nodiscard]] Status restart_trainer();

private:
    explicit Fleet(FleetOptions options) : options_(std::move(options)) {}
    [[nodiscard]] FleetPlace place_of(std::string run) const;
    [[nodiscard]] Status start_trainers();
    [[nodiscard]] Status start_receivers();

    FleetOptions options_;
    std::optional<ScratchFolder> scratch_, disk_;
    unsigned run_ = 0;
    std::vector<Child> trainers_, receivers_;
};

// What the fleet will need at its peak, all processes together.
[[nodiscard]] std::uint64_t memory_need(const FleetOptions& options);

}  // namespace wsync
