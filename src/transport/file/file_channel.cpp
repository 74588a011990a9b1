#include "transport/file/file_channel.hpp"

#include "transport/bounds.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace wsync::file_transport {
namespace {

constexpr std::size_t kMaxRequests = 64;               // under way in the ring
constexpr std::size_t kMaxJobs = 4096;                 // accepted and not completed
constexpr std::uint64_t kMaxBounceBytes = 64ull << 20;
constexpr std::size_t kMaxBounceSlots = 8;
constexpr unsigned kMaxWorkers = 64;
constexpr std::uint64_t kInlineBytes = 256 << 10;      // a cached read or small write that is not worth waking a thread

PlannerOptions planner_options(const FileOptions& options, const DirectRules& rules, const FileEngineReport& report) {
    PlannerOptions p;
    p.direct = report.direct;
    p.ask_resident = options.direct != DirectIo::always;
    p.block_bytes = rules.block_bytes;
    p.memory_alignment = std::min(rules.memory_alignment, rules.block_bytes);
    p.read_bytes = options.chunk_bytes;
    p.write_bytes = report.direct ? 4 * options.chunk_bytes : options.chunk_bytes;
    p.bounce_bytes = options.chunk_bytes;
    return p;
}

// Where threads take the place of io_uring, a network wants many requests and a memory file system no more than processors.
unsigned thread_count(const FileOptions& options, const FileSystemFacts& facts, const FileEngineReport& report) {
    if (options.threads != 0) return std::min(options.threads, kMaxWorkers);
    if (report.engine == "io_uring" || facts.memory) return 2;
    return facts.network ? 16 : 8;
}

}  // namespace

Result<std::unique_ptr<FileChannel>> FileChannel::make(const FileOptions& options, const FileIdentity& identity, UniqueFd buffered, UniqueFd direct,
                                                       const FileSystemFacts& facts, const DirectRules& rules, FileEngineReport report) {
    UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return errno_error(errno, "making an eventfd");
    return std::unique_ptr<FileChannel>(
        new FileChannel(options, identity, std::move(buffered), std::move(direct), facts, rules, std::move(report), std::move(event)));
}

FileChannel::FileChannel(const FileOptions& options, const FileIdentity& identity, UniqueFd buffered, UniqueFd direct, const FileSystemFacts& facts,
                         const DirectRules& rules, FileEngineReport report, UniqueFd event)
    : options_(options),
      identity_(identity),
      buffered_(std::move(buffered)),
      direct_(std::move(direct)),
      event_(std::move(event)),
      file_{identity.path, buffered_.get(), direct_.get(), identity.file_bytes},
      report_(std::move(report)),
      kernels_(options.kernels != nullptr ? *options.kernels : default_kernels()),
      jobs_(kernels_, event_.get()),
      planner_(planner_options(options, rules, report_),
               [this](std::uint64_t offset, std::uint64_t bytes) { return resident(buffered_.get(), offset, bytes); }),
      bounce_(options.chunk_bytes, std::min<std::size_t>(kMaxBounceSlots, kMaxBounceBytes / options.chunk_bytes), options.ledger),
      window_pool_(kWindowBytes, kMaxWorkers, options.ledger),
      max_bytes_under_way_(options.queue_depth * options.chunk_bytes),
      worker_threads_(thread_count(options, facts, report_)) {
    // Readahead is ours; it would also spoil the question whether a range is cached.
    ::posix_fadvise(buffered_.get(), 0, 0, POSIX_FADV_RANDOM);
}

FileChannel::~FileChannel() { close(); }

Result<Region> FileChannel::map() {
    return Error{Code::unsupported, fmt::format("{} is not mapped: a file that shrinks would kill the reader", file_.path)};
}

Status FileChannel::check(const Transfer& t) const {
    if (t.after.value != 0) return Error{Code::unsupported, "the file transport knows no device fences: wait for the work first"};
    if (t.op == Op::write && !identity_.allow_write) {
        return Error{Code::unsupported, fmt::format("{} was exposed for reading only", file_.path)};
    }
    return check_transfer(t, identity_.bytes).within(fmt::format("moving bytes of {}", file_.path));
}

// A file without blocks gets them all before the first byte: a full disk is known now, and writes need no allocation.
Status FileChannel::prepare_writes() {
    if (write_prepared_) return {};
    struct stat st {};
    if (::fstat(buffered_.get(), &st) != 0) return errno_error(errno, fmt::format("fstat of {}", file_.path));
    const std::uint64_t end = identity_.offset + identity_.bytes;
    if (static_cast<std::uint64_t>(st.st_blocks) * 512 < end) {
        int result;
        do result = ::fallocate(buffered_.get(), 0, 0, static_cast<off_t>(end));
        while (result != 0 && errno == EINTR);
        if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
            return errno_error(errno, fmt::format("preallocating {} bytes for {}", end, file_.path));
        }
    }
    write_prepared_ = true;
    return {};
}

Result<std::size_t> FileChannel::submit(std::span<const Transfer> transfers) {
    if (closed_) return Error{Code::cancelled, fmt::format("the channel to {} is closed", file_.path)};
    if (!write_prepared_ && std::any_of(transfers.begin(), transfers.end(), [](const Transfer& t) { return t.op == Op::write; })) {
        if (identity_.allow_write) WSYNC_TRY_VOID(prepare_writes());
    }
    const std::size_t open = jobs_.open_jobs() + jobs_.done();  // completions that nobody has taken yet fill the queue too
    const std::size_t room = open < kMaxJobs ? kMaxJobs - open : 0;
    const std::size_t accepted = std::min(room, transfers.size());
    for (const Transfer& t : transfers.first(accepted)) {
        Completion completion;
        completion.ticket = t.ticket;
        completion.status = check(t);
        if (!completion.status) {
            jobs_.complete(std::move(completion));
        } else if (t.rows == 0 || t.row_bytes == 0) {
            if (t.want_digest) completion.digest = kernels_.digest(nullptr, 0);
            jobs_.complete(std::move(completion));
        } else {
            planner_.push(jobs_.admit(t, t.local->address + t.local_offset, identity_.offset + t.remote_offset));
        }
    }
    issue();
    return accepted;
}

void FileChannel::issue() {
    if (closed_) return;
    if (direct_refused_ && report_.direct) {
        report_.direct = false;
        report_.engine = "threads";
        report_.reason = fmt::format("{} refuses O_DIRECT for this file", report_.filesystem);
        planner_.disable_direct();
    }
    for (;;) {
        if (!held_) {
            const Error cancelled{Code::cancelled, "an earlier part of the transfer failed"};
            planner_.drop_failed([&](Job* job, std::uint64_t at) { jobs_.abandon(job, at, cancelled); });
            if (planner_.empty()) return;
            held_ = planner_.next();
        }
        if (!start(*held_)) return;
        held_.reset();
    }
}

bool FileChannel::has_room(const Chunk& chunk, bool ring) const {
    if (!ring) return worker_chunks_ < 2 * worker_threads_;  // for each thread one to do and one to go on with
    return ring_requests_ == 0 || (ring_requests_ < kMaxRequests && ring_bytes_ + chunk.bytes <= max_bytes_under_way_);
}

// False: no room now; something is under way whose end makes room. Otherwise the chunk has been taken.
bool FileChannel::start(Chunk& chunk) {
    if (chunk.route == Route::buffered) {
        // Without O_DIRECT we don't know what is cached: then only a single small one.
        const bool alone = planner_.empty() && worker_chunks_ == 0;
        if (chunk.bytes <= kInlineBytes && (report_.direct || alone)) {
            run_buffered(chunk, file_, kernels_, jobs_, nullptr);
            return true;
        }
        if (!has_room(chunk, false)) return false;
        start_in_worker(std::move(chunk));
        return true;
    }
    if (report_.engine == "io_uring" && !ring_) {
        auto ring = Ring::make(kMaxRequests, event_.get());
        if (ring) {
            ring_ = *std::move(ring);
        } else {
            report_.engine = "threads";
            report_.reason = ring.error().message;
            if (!workers_) worker_threads_ = std::max(worker_threads_, 8u);
        }
    }
    const bool ring = ring_ != nullptr && report_.engine == "io_uring";
    if (!has_room(chunk, ring)) return false;
    if (chunk.route == Route::bounce) {
        auto slot = bounce_.take();
        if (!slot) {
            fail_all(chunk, slot.error());
            return true;
        }
        if (*slot == nullptr) return false;
        chunk.slot = *slot;
        if (chunk.op == Op::write) collect(chunk, kernels_, jobs_);
    }
    if (ring) {
        start_in_ring(std::move(chunk));
    } else {
        start_in_worker(std::move(chunk));
    }
    return true;
}

void FileChannel::start_in_ring(Chunk chunk) {
    std::size_t index = in_ring_.size();
    if (free_indices_.empty()) {
        in_ring_.emplace_back();
    } else {
        index = free_indices_.back();
        free_indices_.pop_back();
    }
    in_ring_[index] = {std::move(chunk), 0};
    Chunk& kept = in_ring_[index].chunk;
    std::byte* memory = kept.slot != nullptr ? kept.slot : kept.pieces.front().memory;
    const bool prepared = kept.op == Op::read ? ring_->prepare_read(file_.direct_fd, memory, kept.bytes, kept.offset, index)
                                              : ring_->prepare_write(file_.direct_fd, memory, kept.bytes, kept.offset, index);
    if (!prepared) {
        moved_.push_back({index, -EAGAIN});  // more room in the queue than we use: can't happen, and is handled as a short request
        return;
    }
    if (const Status submitted = ring_->submit(); !submitted) {
        fail_all(kept, submitted.error());
        kept.pieces.clear();
        moved_.push_back({index, 0});
        return;
    }
    ring_bytes_ += kept.bytes;
    ++ring_requests_;
    if (kept.op == Op::write && kept.slot == nullptr) to_digest_.push_back(index);
}

void FileChannel::start_in_worker(Chunk chunk) {
    if (!workers_) {
        auto workers = WorkerPool::start(worker_threads_);
        if (!workers) {
            fail_all(chunk, workers.error());
            if (chunk.slot != nullptr) bounce_.give_back(chunk.slot);
            return;
        }
        workers_ = *std::move(workers);
    }
    const bool cached_read = chunk.route == Route::buffered && chunk.op == Op::read;
    if (cached_read && windows_.empty()) {
        // Without memory for a window it goes without.
        windows_.resize(worker_threads_, nullptr);
        if (kernels_.window_pays)
            for (std::byte*& window : windows_) window = window_pool_.take().value_or(nullptr);
    }
    ++worker_chunks_;
    workers_->post([this, owned = std::make_shared<const Chunk>(std::move(chunk)), cached_read](unsigned thread) {
        if (owned->route == Route::buffered) {
            run_buffered(*owned, file_, kernels_, jobs_, cached_read ? windows_[thread] : nullptr);
        } else {
            run_direct(*owned);
        }
        const std::lock_guard lock(finished_mutex_);
        finished_.push_back(owned->slot);
        if (finished_.size() == 1) ::eventfd_write(event_.get(), 1);
    });
}

// A direct request by plain calls.
void FileChannel::run_direct(const Chunk& chunk) {
    std::byte* memory = chunk.slot != nullptr ? chunk.slot : chunk.pieces.front().memory;
    if (chunk.op == Op::write && chunk.slot == nullptr)
        for (const Piece& p : chunk.pieces) jobs_.digest_source(p);
    ssize_t n;
    do {
        n = chunk.op == Op::read ? ::pread(file_.direct_fd, memory, chunk.bytes, static_cast<off_t>(chunk.offset))
                                 : ::pwrite(file_.direct_fd, memory, chunk.bytes, static_cast<off_t>(chunk.offset));
    } while (n < 0 && errno == EINTR);
    conclude(chunk, n < 0 ? -errno : n, 0);
}

// What follows from the kernel's answer to a direct request.
void FileChannel::conclude(const Chunk& chunk, std::int64_t result, std::uint64_t moved) {
    const std::uint64_t wanted = chunk.payload_end() - chunk.offset;
    switch (outcome_of(result, moved, wanted, true)) {
        case Outcome::complete: return deliver(chunk, kernels_, jobs_);
        case Outcome::failed: return fail_all(chunk, error_of(result, chunk.op, file_, chunk.offset + moved));
        case Outcome::refused: direct_refused_ = true; return move_rest_buffered(chunk, moved);
        case Outcome::retry: return move_rest_buffered(chunk, moved + (result > 0 ? static_cast<std::uint64_t>(result) : 0));
    }
}

// A direct request can't go on inside a block, and a short one is rare: the page cache does the rest.
void FileChannel::move_rest_buffered(const Chunk& chunk, std::uint64_t moved) {
    std::byte* memory = chunk.slot != nullptr ? chunk.slot : chunk.pieces.front().memory;
    const std::uint64_t rest = chunk.payload_end() - chunk.offset - moved;
    const Status done = chunk.op == Op::read ? read_fully(file_, file_.buffered_fd, memory + moved, rest, chunk.offset + moved)
                                             : write_fully(file_, file_.buffered_fd, memory + moved, rest, chunk.offset + moved);
    if (!done) return fail_all(chunk, done.error());
    deliver(chunk, kernels_, jobs_);
}

void FileChannel::fail_all(const Chunk& chunk, const Error& error) {
    for (const Piece& p : chunk.pieces) jobs_.fail(p, error);
}

// Takes in what has ended; no waiting, no work on the bytes.
void FileChannel::reap() {
    if (ring_ != nullptr) {
        ring_->reap([this](std::uint64_t tag, int result) {
            const auto index = static_cast<std::size_t>(tag);
            ring_bytes_ -= in_ring_[index].chunk.bytes;
            --ring_requests_;
            moved_.push_back({index, result});
        });
    }
    const std::lock_guard lock(finished_mutex_);
    for (std::byte* slot : finished_)
        if (slot != nullptr) bounce_.give_back(slot);
    worker_chunks_ -= finished_.size();
    finished_.clear();
}

// The digests of a write's next few pieces.
void FileChannel::digest_some(std::size_t index) {
    constexpr std::uint64_t kAtOnce = 2 << 20;  // then the ring is looked at again
    InRing& request = in_ring_[index];
    for (std::uint64_t bytes = 0; request.digested < request.chunk.pieces.size() && bytes < kAtOnce; ++request.digested) {
        const Piece& piece = request.chunk.pieces[request.digested];
        jobs_.digest_source(piece);
        bytes += piece.bytes;
    }
}

void FileChannel::finish_one() {
    const Moved moved = moved_.front();
    moved_.pop_front();
    if (const auto waiting = std::find(to_digest_.begin(), to_digest_.end(), moved.index); waiting != to_digest_.end()) {
        to_digest_.erase(waiting);
        while (in_ring_[moved.index].digested < in_ring_[moved.index].chunk.pieces.size()) digest_some(moved.index);
    }
    const Chunk chunk = std::move(in_ring_[moved.index].chunk);
    free_indices_.push_back(moved.index);
    if (!chunk.pieces.empty()) conclude(chunk, moved.result, 0);
    if (chunk.slot != nullptr) bounce_.give_back(chunk.slot);
}

// Digests and copies, in small steps: between them the device gets what it has room for.
void FileChannel::work_on_bytes(std::span<Completion> out) {
    for (;;) {
        reap();
        issue();
        if (jobs_.done() >= out.size()) return;
        if (!moved_.empty()) {
            finish_one();
        } else if (!to_digest_.empty()) {
            const std::size_t index = to_digest_.front();
            digest_some(index);
            if (in_ring_[index].digested == in_ring_[index].chunk.pieces.size()) to_digest_.pop_front();
        } else {
            return;
        }
    }
}

Result<std::size_t> FileChannel::wait(std::span<Completion> out, Deadline deadline) {
    if (out.empty()) return std::size_t{0};
    const bool poll_only = deadline.expired();
    for (;;) {
        work_on_bytes(out);
        if (const std::size_t n = jobs_.take_done(out); n > 0) return n;
        if (poll_only) return std::size_t{0};
        if (jobs_.open_jobs() == 0) return std::size_t{0};
        if (deadline.expired()) {
            return Error{Code::timed_out, fmt::format("{} answered none of {} transfers before the deadline", file_.path, jobs_.open_jobs())};
        }
        pollfd ready{event_.get(), POLLIN, 0};
        ::poll(&ready, 1, deadline.poll_milliseconds());  // EINTR: look again
        eventfd_t ignored;
        ::eventfd_read(event_.get(), &ignored);
    }
}

void FileChannel::close() {
    if (std::exchange(closed_, true)) return;
    const Error cancelled{Code::cancelled, fmt::format("the channel to {} was closed", file_.path)};
    if (held_) {
        fail_all(*held_, cancelled);
        held_.reset();
    }
    planner_.drain([&](Job* job, std::uint64_t at) { jobs_.abandon(job, at, cancelled); });
    // Requests to a disk can't be taken back, and the kernel writes into the targets until they end.
    while (ring_requests_ > 0) {
        ring_->wait_one();
        reap();
    }
    while (!moved_.empty()) finish_one();
    workers_.reset();
    reap();
    ring_.reset();
}

}  // namespace wsync::file_transport
