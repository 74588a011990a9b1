// The channel of an attached file.
#pragma once

#include "transport/file/blocking_io.hpp"
#include "transport/file/bounce_pool.hpp"
#include "transport/file/direct_support.hpp"
#include "transport/file/file_descriptor.hpp"
#include "transport/file/ring.hpp"
#include "transport/file/worker_pool.hpp"
#include "wsync/base/unique_fd.hpp"

#include <deque>
#include <vector>

namespace wsync::file_transport {

class FileChannel final : public Channel {
public:
    // The files are open and have been compared with the identity.
    [[nodiscard]] static Result<std::unique_ptr<FileChannel>> make(const FileOptions& options, const FileIdentity& identity, UniqueFd buffered,
                                                                   UniqueFd direct, const FileSystemFacts& facts, const DirectRules& rules,
                                                                   FileEngineReport report);
    ~FileChannel() override;

    Result<Region> map() override;
    Result<std::size_t> submit(std::span<const Transfer> transfers) override;
    Result<std::size_t> wait(std::span<Completion> out, Deadline deadline) override;
    void close() override;
    std::optional<std::uint64_t> generation() const override { return std::nullopt; }

    [[nodiscard]] std::string engine_name() const { return report_.name(); }

private:
    FileChannel(const FileOptions& options, const FileIdentity& identity, UniqueFd buffered, UniqueFd direct, const FileSystemFacts& facts,
                const DirectRules& rules, FileEngineReport report, UniqueFd event);
    [[nodiscard]] Status check(const Transfer& transfer) const;
    [[nodiscard]] Status prepare_writes();
    void issue();
    [[nodiscard]] bool start(Chunk& chunk);
    [[nodiscard]] bool has_room(const Chunk& chunk, bool ring) const;
    void start_in_ring(Chunk chunk);
    void start_in_worker(Chunk chunk);
    void reap();
    void finish_one();
    void digest_some(std::size_t index);
    void work_on_bytes(std::span<Completion> out);
    // Of a request by itself, on any thread.
    void run_direct(const Chunk& chunk);
    void conclude(const Chunk& chunk, std::int64_t result, std::uint64_t moved);
    void move_rest_buffered(const Chunk& chunk, std::uint64_t moved);
    void fail_all(const Chunk& chunk, const Error& error);

    FileOptions options_;
    FileIdentity identity_;
    UniqueFd buffered_, direct_, event_;
    OpenFile file_;
    FileEngineReport report_;
    const KernelSet& kernels_;
    JobTable jobs_;
    ChunkPlanner planner_;
    BouncePool bounce_, window_pool_;
    std::uint64_t max_bytes_under_way_;
    unsigned worker_threads_;
    bool write_prepared_ = false, closed_ = false;

    struct Moved {
        std::size_t index;
        int result;
    };
    struct InRing {
        Chunk chunk;
        std::size_t digested = 0;                // pieces of a write whose digests are taken while the device is at it
    };
    std::vector<InRing> in_ring_;                // the index is the request's tag
    std::deque<std::size_t> to_digest_;
    std::vector<std::size_t> free_indices_;
    std::deque<Moved> moved_;                    // by the ring; not delivered yet
    std::uint64_t ring_bytes_ = 0;               // under way in the ring
    std::size_t ring_requests_ = 0;
    std::optional<Chunk> held_;                  // cut, but there was no room for it
    std::size_t worker_chunks_ = 0;              // given to workers and not seen in finished_
    std::atomic<bool> direct_refused_{false};
    std::mutex finished_mutex_;
    std::vector<std::byte*> finished_;           // by the workers: their slots, null where there was none; guarded

    std::unique_ptr<Ring> ring_;                 // made at the first request
    std::vector<std::byte*> windows_;            // one a worker; null: cached reads go right into place
    std::unique_ptr<WorkerPool> workers_;        // as well; destroyed first
};

}  // namespace wsync::file_transport
