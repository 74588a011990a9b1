#include "transport/file/chunk_planner.hpp"

#include <algorithm>
#include <utility>

namespace wsync::file_transport {
namespace {

constexpr std::uint64_t down(std::uint64_t value, std::uint64_t power) { return value & ~(power - 1); }
constexpr std::uint64_t up(std::uint64_t value, std::uint64_t power) { return down(value + power - 1, power); }

}  // namespace

Piece ChunkPlanner::piece(const Cursor& c) const {
    Job* job = queue_[c.index];
    const Transfer& t = job->transfer;
    const std::uint64_t row = c.at / t.row_bytes, in_row = c.at % t.row_bytes;
    Piece p;
    p.job = job;
    p.at = c.at;
    p.memory = job->memory + row * t.local_stride + in_row;
    p.file_offset = job->file_offset + row * t.remote_stride + in_row;
    p.bytes = t.row_bytes - in_row;
    return p;
}

void ChunkPlanner::advance(Cursor& c, std::uint64_t bytes) const {
    c.at += bytes;
    if (c.at >= queue_[c.index]->bytes) {
        ++c.index;
        c.at = 0;
    }
}

void ChunkPlanner::commit(const Cursor& c) {
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(c.index));
    at_ = c.at;
}

void ChunkPlanner::drop_failed(const Visit& visit) {
    // A later job can't have failed: it has no pieces under way.
    while (!queue_.empty() && queue_.front()->failed) {
        Job* job = queue_.front();
        const std::uint64_t at = std::exchange(at_, 0);
        queue_.pop_front();
        visit(job, at);
    }
}

void ChunkPlanner::drain(const Visit& visit) {
    while (!queue_.empty()) {
        Job* job = queue_.front();
        const std::uint64_t at = std::exchange(at_, 0);
        queue_.pop_front();
        visit(job, at);
    }
}

// How far file and memory go on together from here, at most `limit`.
std::uint64_t ChunkPlanner::stretch(Cursor c, std::uint64_t limit) const {
    const Piece first = piece(c);
    const Op op = first.job->transfer.op;
    std::uint64_t bytes = 0;
    while (!at_end(c) && bytes < limit) {
        const Piece p = piece(c);
        if (p.job->transfer.op != op || p.memory != first.memory + bytes || p.file_offset != first.file_offset + bytes) break;
        bytes += p.bytes;
        advance(c, p.bytes);
    }
    return std::min(bytes, limit);
}

// Whether the memory lies right where the file offset is a whole block.
bool ChunkPlanner::same_phase(const Piece& p) const {
    const std::uint64_t to_block = up(p.file_offset, options_.block_bytes) - p.file_offset;
    return ((reinterpret_cast<std::uintptr_t>(p.memory) + to_block) & (options_.memory_alignment - 1)) == 0;
}

bool ChunkPlanner::direct_capable(const Cursor& c, std::uint64_t at_least) const {
    const Piece p = piece(c);
    if (!same_phase(p)) return false;
    const std::uint64_t to_block = up(p.file_offset, options_.block_bytes) - p.file_offset;
    return stretch(c, to_block + at_least) == to_block + at_least;
}

// Appends pieces up to the file offset `end_limit`, as long as each begins at or at most `max_gap` behind the end of the
// one before. `stop`: before_direct, not beyond the beginning of a long run that needs no slot; before_cut, only the first piece
// is cut at the limit.
void ChunkPlanner::gather(Chunk& chunk, Cursor& c, std::uint64_t end_limit, std::uint64_t max_gap, Stop stop) const {
    while (!at_end(c)) {
        Piece p = piece(c);
        if (p.job->transfer.op != chunk.op) break;
        if (!chunk.pieces.empty()) {
            const Piece& last = chunk.pieces.back();
            if (p.file_offset < last.file_end() || p.file_offset - last.file_end() > max_gap) break;
            const bool new_run = p.memory != last.memory + last.bytes || p.file_offset != last.file_end();
            if (stop == Stop::before_cut && p.file_end() > end_limit) break;
            if (stop == Stop::before_direct && new_run && direct_capable(c, 4 * options_.min_direct_bytes)) break;
        }
        if (p.file_offset >= end_limit) break;
        p.bytes = std::min(p.bytes, end_limit - p.file_offset);
        chunk.pieces.push_back(p);
        advance(c, p.bytes);
    }
}

Chunk ChunkPlanner::take(Cursor c, Route route, std::uint64_t bytes) {
    const Piece first = piece(c);
    Chunk chunk;
    chunk.op = first.job->transfer.op;
    chunk.route = route;
    gather(chunk, c, first.file_offset + bytes, 0, Stop::at_limit);
    chunk.offset = first.file_offset;
    chunk.bytes = chunk.payload_end() - chunk.offset;
    commit(c);
    return chunk;
}

Chunk ChunkPlanner::next() {
    Cursor c{0, at_};
    const Piece first = piece(c);
    const Op op = first.job->transfer.op;
    if (op == Op::write) {
        if (options_.direct) return next_direct_write(c);
        return take(c, Route::buffered, options_.write_bytes);
    }
    if (!options_.direct || options_.ask_resident) {
        // Pieces stay whole, so that a block's digest is taken while it is in cache.
        Chunk chunk;
        chunk.op = op;
        chunk.route = Route::buffered;
        Cursor end = c;
        gather(chunk, end, down(first.file_offset, options_.block_bytes) + options_.read_bytes, options_.max_gap_bytes, Stop::before_cut);
        chunk.offset = first.file_offset;
        chunk.bytes = chunk.payload_end() - chunk.offset;
        if (!options_.direct || resident_(chunk.offset, chunk.bytes)) {
            commit(end);
            return chunk;
        }
    }
    return next_direct_read(c);
}

Chunk ChunkPlanner::next_direct_read(Cursor c) {
    const Piece first = piece(c);
    const std::uint64_t block = options_.block_bytes;
    const std::uint64_t begin = down(first.file_offset, block);
    std::uint64_t bounce_end = begin + options_.bounce_bytes;
    if (same_phase(first)) {
        const std::uint64_t to_block = up(first.file_offset, block) - first.file_offset;
        const std::uint64_t run = stretch(c, options_.read_bytes + block);
        if (to_block == 0) {
            const std::uint64_t body = std::min(down(run, block), options_.read_bytes);
            if (body >= options_.min_direct_bytes) return take(c, Route::direct, body);
        } else if (run >= to_block + options_.min_direct_bytes) {
            bounce_end = begin + block;  // only the edge; the body behind it needs no slot
        }
    }
    Chunk chunk;
    chunk.op = Op::read;
    chunk.route = Route::bounce;
    gather(chunk, c, bounce_end, options_.max_gap_bytes, Stop::before_direct);
    chunk.offset = begin;
    chunk.bytes = up(chunk.payload_end(), block) - begin;
    commit(c);
    return chunk;
}

Chunk ChunkPlanner::next_direct_write(Cursor c) {
    const Piece first = piece(c);
    const std::uint64_t block = options_.block_bytes;
    const std::uint64_t to_block = up(first.file_offset, block) - first.file_offset;
    // Blocks that are only partly ours go through the page cache, which reads, changes and writes them; nothing of the
    // file beyond our bytes changes, its size included.
    if (to_block != 0) return take(c, Route::buffered, to_block);
    if (same_phase(first)) {
        const std::uint64_t body = down(stretch(c, options_.write_bytes), block);
        if (body >= options_.min_direct_bytes) return take(c, Route::direct, body);
    }
    Chunk chunk;
    chunk.op = Op::write;
    Cursor end = c;
    gather(chunk, end, first.file_offset + options_.bounce_bytes, 0, Stop::before_direct);
    const std::uint64_t run = chunk.payload_end() - first.file_offset;
    const std::uint64_t body = down(run, block);
    if (body >= options_.min_direct_bytes) return take(c, Route::bounce, body);
    return take(c, Route::buffered, run);
}

}  // namespace wsync::file_transport
