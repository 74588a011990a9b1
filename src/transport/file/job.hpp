// Accepted transfers until their completions, and the digests that grow as their bytes arrive.
#pragma once

#include "kernels/kernel_set.hpp"
#include "transport/transport.hpp"

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>

namespace wsync::file_transport {

// One accepted transfer. What is below the line belongs to the JobTable.
struct Job {
    Transfer transfer;                    // one row where its rows touch on both sides
    std::byte* memory = nullptr;          // of row 0
    std::uint64_t file_offset = 0;        // of row 0, in the file
    std::uint64_t bytes = 0;              // of all rows; not 0
    std::shared_ptr<const void> owner{};  // of the memory: the kernel may be writing when a caller gives up
    std::atomic<bool> failed{false};      // no further part of it needs to be moved
    // --
    std::uint64_t settled = 0;            // moved or given up
    std::uint64_t hashed = 0;             // one flat range: the prefix that is in `hasher`
    bool hashing = false;                 // some thread is at it
    std::map<std::uint64_t, std::uint64_t> arrived{};  // begin -> end, not hashed yet
    std::optional<Hasher> hasher{};       // only where the job is more than one piece
    std::optional<Digest> digest{};
    Status status{};
};

// A part of one row of a job.
struct Piece {
    Job* job = nullptr;
    std::uint64_t at = 0;                 // bytes from the job's beginning, rows packed
    std::byte* memory = nullptr;
    std::uint64_t file_offset = 0;
    std::uint64_t bytes = 0;

    [[nodiscard]] std::uint64_t file_end() const { return file_offset + bytes; }
    [[nodiscard]] bool whole() const { return bytes == job->bytes; }
};

// Thread-safe, but for admit and take_done (the channel's thread).
class JobTable {
public:
    // `event` is an eventfd that is written when a completion is there; borrowed.
    JobTable(const KernelSet& kernels, int event) : kernels_(kernels), event_(event) {}

    // The transfer has been checked; its rows are not empty.
    Job* admit(const Transfer& transfer, std::byte* memory, std::uint64_t file_offset);
    // A completion for a transfer that never became a job.
    void complete(Completion completion);

    // The piece's bytes are where they should be. `digest`: of the whole job, when the caller has made it on the way.
    void settle(const Piece& piece, std::optional<Digest> digest);
    // A write's bytes have been handed to the kernel and can be digested while it is at them; settle follows. `made`: the
    // digest of the whole job, if the caller has it from copying.
    void digest_source(const Piece& piece, std::optional<Digest> made = std::nullopt);
    void fail(const Piece& piece, const Error& error);
    // What has not been cut into pieces yet, from `at` on.
    void abandon(Job* job, std::uint64_t at, const Error& error);

    [[nodiscard]] std::size_t take_done(std::span<Completion> out);
    [[nodiscard]] std::size_t done() const;       // waiting to be taken
    [[nodiscard]] std::size_t open_jobs() const;  // without a completion yet

private:
    void hash_in_order(std::unique_lock<std::mutex>& lock, Job& job);
    void finish_if_settled(std::unique_lock<std::mutex>& lock, Job& job);
    void push_done(Completion completion);

    const KernelSet& kernels_;
    int event_;
    mutable std::mutex mutex_;
    std::unordered_map<Job*, std::unique_ptr<Job>> jobs_;
    std::deque<Completion> done_;
};

}  // namespace wsync::file_transport
