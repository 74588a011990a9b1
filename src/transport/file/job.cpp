#include "transport/file/job.hpp"

#include <sys/eventfd.h>

namespace wsync::file_transport {

Job* JobTable::admit(const Transfer& transfer, std::byte* memory, std::uint64_t file_offset) {
    auto job = std::make_unique<Job>();
    job->transfer = transfer;
    job->memory = memory;
    if (transfer.local != nullptr) job->owner = transfer.local->owner;
    job->file_offset = file_offset;
    job->bytes = transfer.rows * transfer.row_bytes;
    if (transfer.rows > 1 && transfer.remote_stride == transfer.row_bytes && transfer.local_stride == transfer.row_bytes) {
        job->transfer.row_bytes = job->bytes;
        job->transfer.rows = 1;
    }
    const std::lock_guard lock(mutex_);
    Job* const key = job.get();
    jobs_.emplace(key, std::move(job));
    return key;
}

void JobTable::complete(Completion completion) {
    const std::lock_guard lock(mutex_);
    push_done(std::move(completion));
}

void JobTable::push_done(Completion completion) {
    done_.push_back(std::move(completion));
    // Only the first one wakes: the channel's thread takes all that it finds.
    if (done_.size() == 1) ::eventfd_write(event_, 1);
}

void JobTable::settle(const Piece& piece, std::optional<Digest> digest) {
    Job& job = *piece.job;
    std::unique_lock lock(mutex_);
    job.settled += piece.bytes;
    if (digest) job.digest = digest;
    if (job.transfer.want_digest && !job.digest && job.transfer.rows == 1 && job.transfer.op == Op::read && !job.failed) {
        job.arrived.emplace(piece.at, piece.at + piece.bytes);
        hash_in_order(lock, job);
    }
    finish_if_settled(lock, job);
}

void JobTable::digest_source(const Piece& piece, std::optional<Digest> made) {
    Job& job = *piece.job;
    if (!job.transfer.want_digest || job.transfer.rows != 1) return;  // rows are digested at the end
    if (piece.whole()) {
        if (!made) made = kernels_.digest(piece.memory, piece.bytes);
        const std::lock_guard lock(mutex_);
        job.digest = made;
        return;
    }
    std::unique_lock lock(mutex_);
    job.arrived.emplace(piece.at, piece.at + piece.bytes);
    hash_in_order(lock, job);
}

// Pieces arrive in any order, a digest needs theirs: whoever brings the next one goes on as far as it goes.
void JobTable::hash_in_order(std::unique_lock<std::mutex>& lock, Job& job) {
    if (job.hashing) return;
    job.hashing = true;
    while (!job.arrived.empty() && job.arrived.begin()->first == job.hashed) {
        const std::uint64_t end = job.arrived.begin()->second;
        const std::span<const std::byte> bytes(job.memory + job.hashed, end - job.hashed);
        job.arrived.erase(job.arrived.begin());
        lock.unlock();
        if (!job.hasher) job.hasher.emplace();
        job.hasher->update(bytes);
        lock.lock();
        job.hashed = end;
    }
    job.hashing = false;
}

void JobTable::finish_if_settled(std::unique_lock<std::mutex>& lock, Job& job) {
    if (job.settled != job.bytes || job.hashing) return;
    const Transfer& t = job.transfer;
    if (t.want_digest && !job.digest && !job.failed) {
        if (t.rows > 1) {
            job.hashing = true;
            lock.unlock();
            const Digest digest = digest_rows(kernels_, job.memory, t.local_stride, t.row_bytes, t.rows);
            lock.lock();
            job.digest = digest;
        } else if (job.hasher) {
            job.digest = job.hasher->finish();
        }
    }
    Completion completion;
    completion.ticket = t.ticket;
    completion.status = std::move(job.status);
    if (completion.status && t.want_digest) completion.digest = job.digest;
    push_done(std::move(completion));
    jobs_.erase(&job);
}

void JobTable::fail(const Piece& piece, const Error& error) {
    Job& job = *piece.job;
    std::unique_lock lock(mutex_);
    if (!job.failed) {
        job.failed = true;
        job.status = error;
    }
    job.settled += piece.bytes;
    finish_if_settled(lock, job);
}

void JobTable::abandon(Job* job, std::uint64_t at, const Error& error) {
    Piece rest;
    rest.job = job;
    rest.at = at;
    rest.bytes = job->bytes - at;
    fail(rest, error);
}

std::size_t JobTable::take_done(std::span<Completion> out) {
    const std::lock_guard lock(mutex_);
    std::size_t n = 0;
    for (; n < out.size() && !done_.empty(); ++n) {
        out[n] = std::move(done_.front());
        done_.pop_front();
    }
    // What stays must wake again.
    if (!done_.empty()) ::eventfd_write(event_, 1);
    return n;
}

std::size_t JobTable::done() const {
    const std::lock_guard lock(mutex_);
    return done_.size();
}

std::size_t JobTable::open_jobs() const {
    const std::lock_guard lock(mutex_);
    return jobs_.size();
}

}  // namespace wsync::file_transport
