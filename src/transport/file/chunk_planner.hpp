// Cuts jobs into the requests that the disk likes: large, aligned, neighbours merged. Pure: no I/O, no threads.
#pragma once

#include "transport/file/job.hpp"

#include <deque>
#include <functional>
#include <vector>

namespace wsync::file_transport {

enum class Route : std::uint8_t {
    direct,    // O_DIRECT between the file and the target itself
    bounce,    // O_DIRECT through an aligned slot
    buffered,  // through the page cache
};

// One request. Its pieces are ordered by file offset; a read may have gaps between them.
struct Chunk {
    Op op = Op::read;
    Route route = Route::buffered;
    std::uint64_t offset = 0, bytes = 0;  // in the file; whole blocks, but for buffered ones
    std::vector<Piece> pieces{};
    std::byte* slot = nullptr;            // of a bounce
    std::uint64_t moved = 0;              // bytes from `offset` on that the kernel has confirmed

    [[nodiscard]] std::uint64_t payload_end() const { return pieces.back().file_end(); }
};

struct PlannerOptions {
    bool direct = false;
    bool ask_resident = true;               // whether cached ranges are read from the page cache
    std::uint64_t block_bytes = 4096;       // a power of two
    std::uint64_t memory_alignment = 512;   // a power of two, at most block_bytes
    std::uint64_t read_bytes = 4 << 20;     // the largest requests; multiples of the block
    std::uint64_t write_bytes = 16 << 20;
    std::uint64_t bounce_bytes = 4 << 20;
    std::uint64_t min_direct_bytes = 64 << 10;  // what is shorter is not worth a request of its own
    std::uint64_t max_gap_bytes = 64 << 10;     // reads: read and dropped rather than skipped
};

class ChunkPlanner {
public:
    // Whether [offset, offset + bytes) of the file is in the page cache.
    using Resident = std::function<bool(std::uint64_t, std::uint64_t)>;
    ChunkPlanner(const PlannerOptions& options, Resident resident) : options_(options), resident_(std::move(resident)) {}

    void push(Job* job) { queue_.push_back(job); }
    // Nothing left to cut.
    [[nodiscard]] bool empty() const { return queue_.empty(); }
    // Precondition: not empty().
    [[nodiscard]] Chunk next();
    // Takes out what has not been cut, of all jobs or of the failed ones in front: `visit` is called with each job and the
    // first byte of it that was not cut, and may destroy it.
    using Visit = std::function<void(Job*, std::uint64_t)>;
    void drain(const Visit& visit);
    void drop_failed(const Visit& visit);
    // O_DIRECT turned out to be refused.
    void disable_direct() { options_.direct = false; }
    [[nodiscard]] const PlannerOptions& options() const { return options_; }

private:
    struct Cursor {
        std::size_t index = 0;    // in queue_
        std::uint64_t at = 0;     // bytes of that job, rows packed
    };
    [[nodiscard]] bool at_end(const Cursor& c) const { return c.index >= queue_.size(); }
    [[nodiscard]] Piece piece(const Cursor& c) const;
    void advance(Cursor& c, std::uint64_t bytes) const;
    [[nodiscard]] std::uint64_t stretch(Cursor c, std::uint64_t limit) const;
    [[nodiscard]] bool same_phase(const Piece& p) const;
    [[nodiscard]] bool direct_capable(const Cursor& c, std::uint64_t at_least) const;
    enum class Stop : std::uint8_t { at_limit, before_cut, before_direct };
    void gather(Chunk& chunk, Cursor& c, std::uint64_t end_limit, std::uint64_t max_gap, Stop stop) const;
    void commit(const Cursor& c);
    [[nodiscard]] Chunk next_direct_read(Cursor c);
    [[nodiscard]] Chunk next_direct_write(Cursor c);
    [[nodiscard]] Chunk take(Cursor c, Route route, std::uint64_t bytes);

    PlannerOptions options_;
    Resident resident_;
    std::deque<Job*> queue_;
    std::uint64_t at_ = 0;        // bytes of queue_.front() that have been cut
};

}  // namespace wsync::file_transport
