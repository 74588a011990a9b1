// Moves a binding's blocks: several channels, a bounded number of bytes in flight, digests as they pass.
//
// A channel does its work on the thread that waits on it, so each of the executor's threads has channels of its own,
// kept from sync to sync. One thread calls run(); the others are its own and end with it.
#pragma once

#include "kernels/kernel_set.hpp"
#include "sync/binding.hpp"
#include "sync/rate_limiter.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <set>

namespace wsync {

// How to reach one region of the source. `key` names the channel: routes with equal keys share it.
struct Route {
    std::uint64_t key = 0;
    std::uint64_t generation = 0;
    std::vector<Descriptor> descriptors;      // in order of preference
};
// By source rank, then by the source placement's region.
using Routes = std::vector<std::vector<Route>>;

struct ExecutorOptions {
    unsigned threads = 1;
    std::uint64_t bucket_bytes = 16 << 20;    // what a thread takes at once
    std::uint64_t in_flight_bytes = 64 << 20; // over all threads
    double bytes_per_second = 0;              // 0: no limit
};

struct Work {
    const Binding* binding = nullptr;
    std::span<const std::uint32_t> blocks;    // which of them to move
    const Routes* routes = nullptr;
    std::span<const Region> sink;             // the sink placement's regions, host memory
    const Layout* sink_layout = nullptr;
    const Placement* sink_place = nullptr;
    bool want_digests = true;
    std::span<Digest> digests;                // one for each block of the binding; those moved are filled in
    std::function<void(std::uint64_t)> moved; // bytes so far; called from the executor's threads
};

class Executor {
public:
    // `transports` and `kernels` are borrowed; they outlive the executor.
    Executor(ExecutorOptions options, std::span<const std::unique_ptr<Transport>> transports, const KernelSet& kernels);
    ~Executor();

    // Opens the channels that the work needs, where they aren't open.
    [[nodiscard]] Status connect(const Work& work, Deadline deadline);
    // All blocks at their places, or an Error that names the tensor's block; what was under way has ended by then. A
    // deadline that an interrupt ends stops it between two blocks.
    [[nodiscard]] Status run(const Work& work, Deadline deadline);
    // Maps the route's region (zero copy).
    [[nodiscard]] Result<Region> map(const Route& route, Deadline deadline);
    // A mapped route's generation as its page has it now.
    [[nodiscard]] std::optional<std::uint64_t> generation(const Route& route) const;
    void disconnect();
    // The transports that the open channels use: "shm", "tcp".
    [[nodiscard]] std::string transports_used() const;
    [[nodiscard]] const ExecutorOptions& options() const noexcept { return options_; }

private:
    struct Attached {
        std::unique_ptr<Channel> channel;
        std::string transport;
    };
    using Channels = std::map<std::uint64_t, Attached>;
    [[nodiscard]] Result<Channel*> channel(Channels& channels, const Route& route, Deadline deadline);
    [[nodiscard]] unsigned threads_for(const Work& work) const;
    struct Run;
    void work_on(Run& run, Channels& channels);

    ExecutorOptions options_;
    std::span<const std::unique_ptr<Transport>> transports_;
    const KernelSet& kernels_;
    std::vector<Channels> channels_;          // of each thread
};

}  // namespace wsync
