#include "sync/executor.hpp"

#include "transport/file/file_transport.hpp"
#include "verify/at_rest.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <thread>

namespace wsync {
namespace {

constexpr std::uint64_t kSmallWorkBytes = 4 << 20;  // below this a second thread costs more than it brings

struct Bucket {
    std::size_t begin = 0, end = 0;  // in Work::blocks
};

const Route& route_of(const Work& work, const BoundBlock& block) { return (*work.routes)[block.source_rank][block.source_region]; }

// Runs of blocks that share a route, up to `bytes` each.
std::vector<Bucket> make_buckets(const Work& work, std::uint64_t bytes) {
    std::vector<Bucket> buckets;
    std::uint64_t filled = 0;
    for (std::size_t i = 0; i < work.blocks.size(); ++i) {
        const auto& block = work.binding->blocks[work.blocks[i]];
        const bool fits = !buckets.empty() && filled + block.bytes <= bytes &&
                          route_of(work, work.binding->blocks[work.blocks[buckets.back().begin]]).key == route_of(work, block).key;
        if (!fits) {
            buckets.push_back({i, i});
            filled = 0;
        }
        buckets.back().end = i + 1;
        filled += block.bytes;
    }
    return buckets;
}

}  // namespace

struct Executor::Run {
    const Work& work;
    Deadline deadline;
    std::vector<Bucket> buckets;
    std::uint64_t in_flight_bytes = 0;  // for one thread
    RateLimiter limiter;
    std::atomic<std::size_t> next{0};
    std::atomic<std::uint64_t> moved{0};
    std::atomic<bool> stop{false};
    std::mutex mutex;
    std::optional<Error> error;

    void fail(Error e) {
        std::lock_guard lock(mutex);
        // The first cause counts; what it cancelled elsewhere does not.
        if (!error || error->code == Code::cancelled) error = std::move(e);
        stop = true;
    }
    [[nodiscard]] std::string name_of_block(const BoundBlock& block) const {
        const auto& shard = work.sink_layout->shards()[block.sink_shard];
        return fmt::format("moving {} {} from rank {}", work.sink_layout->manifest()[shard.tensor].name, block.sink_box.to_string(), block.source_rank);
    }
};

Executor::Executor(ExecutorOptions options, std::span<const std::unique_ptr<Transport>> transports, const KernelSet& kernels)
    : options_(options), transports_(transports), kernels_(kernels), channels_(std::max(1u, options.threads)) {}
Executor::~Executor() = default;

unsigned Executor::threads_for(const Work& work) const {
    std::uint64_t bytes = 0;
    for (auto i : work.blocks) bytes += work.binding->blocks[i].bytes;
    if (bytes <= kSmallWorkBytes) return 1;
    return static_cast<unsigned>(channels_.size());
}

Result<Channel*> Executor::channel(Channels& channels, const Route& route, Deadline deadline) {
    if (auto it = channels.find(route.key); it != channels.end()) return it->second.channel.get();
    Error last{Code::unsupported, "the publisher offers no transport that this receiver has", {}};
    for (const auto& descriptor : route.descriptors) {
        for (const auto& transport : transports_) {
            if (transport->capabilities().name != descriptor.transport) continue;
            AttachOptions attach;
            attach.deadline = deadline;
            auto attached = transport->attach(descriptor, attach);
            if (attached) {
                auto& entry = channels[route.key];
                entry = {*std::move(attached), descriptor.transport};
                return entry.channel.get();
            }
            last = std::move(attached).error().within(fmt::format("attaching by {}", descriptor.transport));
            if (last.code == Code::peer_lost || last.code == Code::timed_out) return last;
        }
    }
    return last;
}

Status Executor::connect(const Work& work, Deadline deadline) {
    const auto threads = threads_for(work);
    std::set<std::uint64_t> seen;
    for (auto i : work.blocks) {
        const auto& route = route_of(work, work.binding->blocks[i]);
        if (!seen.insert(route.key).second) continue;
        for (unsigned t = 0; t < threads; ++t) {
            WSYNC_TRY(auto* opened, channel(channels_[t], route, deadline));
            (void)opened;
        }
    }
    return {};
}

Result<Region> Executor::map(const Route& route, Deadline deadline) {
    WSYNC_TRY(auto* opened, channel(channels_[0], route, deadline));
    return opened->map();
}

std::optional<std::uint64_t> Executor::generation(const Route& route) const {
    const auto it = channels_[0].find(route.key);
    return it == channels_[0].end() ? std::nullopt : it->second.channel->generation();
}

void Executor::disconnect() {
    for (auto& channels : channels_) channels.clear();
}

std::string Executor::transports_used() const {
    std::set<std::string> names;
    for (const auto& channels : channels_)
        for (const auto& [key, attached] : channels) {
            const auto engine = file_engine_name(*attached.channel);
            names.insert(engine.empty() ? attached.transport : fmt::format("{} ({})", attached.transport, engine));
        }
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : "+") + name;
    return text;
}

void Executor::work_on(Run& run, Channels& channels) {
    const auto& work = run.work;
    const auto& binding = *work.binding;
    std::vector<Transfer> queue;             // not yet accepted
    std::map<std::uint32_t, std::uint32_t> parts;  // of blocks of more than one transfer, those still out
    std::vector<Completion> completions(64);
    Channel* current = nullptr;
    std::uint64_t current_key = 0;
    std::size_t queued = 0, outstanding = 0;  // transfers
    std::uint64_t outstanding_bytes = 0;
    bool more = true;

    const auto enqueue = [&](const Bucket& bucket, std::uint64_t generation) {
        queue.clear();
        queued = 0;
        for (auto i = bucket.begin; i < bucket.end; ++i) {
            const auto index = work.blocks[i];
            const auto& block = binding.blocks[index];
            if (block.rows > 1) parts[index] = block.rows;
            for (std::uint32_t r = 0; r < block.rows; ++r) {
                const auto& rows = binding.rows[block.first_rows + r];
                Transfer transfer;
                transfer.remote_offset = block.source_base + rows.source_offset;
                transfer.remote_stride = rows.source_stride;
                transfer.local = &work.sink[block.sink_region];
                transfer.local_offset = block.sink_base + rows.sink_offset;
                transfer.local_stride = rows.sink_stride;
                transfer.row_bytes = rows.row_bytes;
                transfer.rows = rows.rows;
                transfer.generation = generation;
                transfer.want_digest = work.want_digests && block.rows == 1;
                transfer.ticket = index;
                queue.push_back(transfer);
            }
        }
    };
    const auto finish = [&](Completion& completion) -> Status {
        const auto index = static_cast<std::uint32_t>(completion.ticket);
        const auto& block = binding.blocks[index];
        --outstanding;
        if (!completion.status) return std::move(completion.status).error().within(run.name_of_block(block));
        if (block.rows > 1) {
            if (--parts[index] > 0) return {};
            parts.erase(index);
            if (work.want_digests) {
                WSYNC_TRY(work.digests[index], digest_box_at_rest(*work.sink_layout, block.sink_shard, block.sink_box, *work.sink_place, work.sink, kernels_));
            }
        } else if (completion.digest) {
            work.digests[index] = *completion.digest;
        }
        outstanding_bytes -= block.bytes;
        const auto moved = run.moved.fetch_add(block.bytes) + block.bytes;
        if (work.moved) work.moved(moved);
        return {};
    };
    const auto wait_once = [&]() -> Status {
        WSYNC_TRY(auto n, current->wait(completions, run.deadline));
        if (n == 0) return Error{Code::timed_out, "the deadline passed while blocks were under way", {}};
        for (std::size_t i = 0; i < n; ++i) WSYNC_TRY_VOID(finish(completions[i]));
        return {};
    };
    const auto step = [&]() -> Status {
        if (queued == queue.size() && more && outstanding_bytes < run.in_flight_bytes) {
            const auto b = run.next.fetch_add(1);
            if (b >= run.buckets.size()) {
                more = false;
            } else {
                const auto& bucket = run.buckets[b];
                const auto& route = route_of(work, binding.blocks[work.blocks[bucket.begin]]);
                if (current == nullptr || route.key != current_key) {
                    while (outstanding > 0) WSYNC_TRY_VOID(wait_once());
                    WSYNC_TRY(current, channel(channels, route, run.deadline));
                    current_key = route.key;
                }
                std::uint64_t bytes = 0;
                for (auto i = bucket.begin; i < bucket.end; ++i) bytes += binding.blocks[work.blocks[i]].bytes;
                WSYNC_TRY_VOID(run.limiter.acquire(bytes, run.deadline));
                enqueue(bucket, route.generation);
                outstanding_bytes += bytes;
            }
        }
        if (queued < queue.size()) {
            WSYNC_TRY(auto accepted, current->submit(std::span(queue).subspan(queued)));
            queued += accepted;
            outstanding += accepted;
        }
        if (outstanding > 0 && (queued < queue.size() || !more || outstanding_bytes >= run.in_flight_bytes)) return wait_once();
        return {};
    };
    while ((more || queued < queue.size() || outstanding > 0) && !run.stop) {
        // A channel that copies by itself never waits, and so never looks at the clock.
        if (run.deadline.expired()) {
            run.fail({Code::timed_out, "the deadline passed while blocks were under way", {}});
        } else if (auto status = step(); !status) {
            run.fail(std::move(status).error());
        }
    }
    if (run.stop && current != nullptr) {
        // What is under way writes into the sink's memory: it ends before anybody may use that.
        current->close();
        channels.erase(current_key);
    }
}

Status Executor::run(const Work& work, Deadline deadline) {
    for (const auto& fill : work.binding->fills) {
        auto* base = work.sink[fill.sink_region].address + fill.sink_base + fill.rows.sink_offset;
        for (std::uint64_t r = 0; r < fill.rows.rows; ++r) {
            std::memset(base + r * fill.rows.sink_stride, static_cast<int>(fill.value), fill.rows.row_bytes);
        }
    }
    if (work.blocks.empty()) return {};
    const auto threads = threads_for(work);
    std::uint64_t total = 0;
    for (auto i : work.blocks) total += work.binding->blocks[i].bytes;
    // Small enough that all threads have work to the end, and that a limited rate is kept over short spans.
    auto bucket_bytes = std::min<std::uint64_t>(options_.bucket_bytes, total / (threads * 4) + 1);
    if (options_.bytes_per_second > 0) bucket_bytes = std::min(bucket_bytes, static_cast<std::uint64_t>(options_.bytes_per_second / 50));
    bucket_bytes = std::max<std::uint64_t>(bucket_bytes, 1 << 20);
    // A limited rate is kept in what moves, not in what is asked for: one bucket under way at a time.
    const auto in_flight = options_.bytes_per_second > 0 ? 1 : std::max<std::uint64_t>(options_.in_flight_bytes / threads, 1);
    Run run{work, deadline, make_buckets(work, bucket_bytes), in_flight, RateLimiter(options_.bytes_per_second), {}, {}, {}, {}, {}};
    std::vector<std::thread> others;
    for (unsigned t = 1; t < threads; ++t) others.emplace_back([&, t] { work_on(run, channels_[t]); });
    work_on(run, channels_[0]);
    for (auto& thread : others) thread.join();
    if (run.error) return *std::move(run.error);
    return {};
}

}  // namespace wsync
