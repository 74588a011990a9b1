#include "store/stored_blocks.hpp"

#include "memory/host_buffer.hpp"
#include "store/tensor_ranges.hpp"
#include "verify/blocks.hpp"
#include "verify/mismatch.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <tuple>

namespace wsync {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLeastBufferBytes = 4 << 20;

const TensorSpec& tensor_of(const StoredVersion& stored, std::uint32_t shard) { return stored.boxes->manifest()[stored.boxes->shards()[shard].tensor]; }

std::uint64_t offset_of(const StoredVersion& stored, std::uint32_t shard, const Box& box) {
    std::vector<FileRange> ranges;
    append_ranges(ranges, tensor_of(stored, shard), stored.tensors->places[shard].offset, box, nullptr, 0);
    return ranges.front().offset;
}

bool before(const StoredBlock& a, const StoredBlock& b) {
    return std::tie(a.file, a.offset, a.shard, a.number) < std::tie(b.file, b.offset, b.shard, b.number);
}

// What one reading takes: blocks of one file, as many as the buffer holds.
struct Batch {
    struct Item {
        const StoredBlock* block;
        Box box;
        std::uint64_t at, bytes;              // in the buffer
        std::size_t first_range, ranges;
    };
    std::vector<Item> items;
    std::vector<FileRange> ranges;
};

Batch next_batch(const StoredVersion& stored, std::span<const StoredBlock> blocks, const Region& memory) {
    Batch batch;
    std::uint64_t used = 0;
    for (const StoredBlock& block : blocks) {
        if (block.file != blocks.front().file) break;
        const TensorSpec& tensor = tensor_of(stored, block.shard);
        const BlockCut cut(stored.boxes->shards()[block.shard].box, tensor.dtype);
        // At the phase that it has in the file: no copy on the way.
        const std::uint64_t at = used + (block.offset + kPage - used % kPage) % kPage;
        const std::uint64_t bytes = cut.bytes(block.number);
        if (at + bytes > memory.bytes) break;
        used = at + bytes;
        batch.items.push_back({&block, cut.block(block.number), at, bytes, batch.ranges.size(), 0});
        append_ranges(batch.ranges, tensor, stored.tensors->places[block.shard].offset, batch.items.back().box, &memory, at);
        batch.items.back().ranges = batch.ranges.size() - batch.items.back().first_range;
    }
    return batch;
}

Status compare(const StoredVersion& stored, const Batch::Item& item, const Digest& found) {
    const StoredBlock& block = *item.block;
    if (found == stored.digests.digests[stored.digests.first[block.shard] + block.number]) return {};
    return mismatch_error({tensor_of(stored, block.shard).name, item.box, block.offset, item.bytes}).within(fmt::format("verifying {}", stored.checkpoint.files[block.file]));
}

}  // namespace

StoredBlock find_block(const StoredVersion& stored, std::uint32_t shard, std::uint64_t number) {
    const BlockCut cut(stored.boxes->shards()[shard].box, tensor_of(stored, shard).dtype);
    return {stored.tensors->places[shard].region, shard, number, offset_of(stored, shard, cut.block(number))};
}

std::vector<StoredBlock> all_blocks(const StoredVersion& stored) {
    std::vector<StoredBlock> blocks;
    for (std::uint32_t s = 0; s < stored.boxes->shards().size(); ++s) {
        const std::uint64_t count = count_blocks(stored.boxes->shards()[s].box, tensor_of(stored, s).dtype);
        for (std::uint64_t b = 0; b < count; ++b) blocks.push_back(find_block(stored, s, b));
    }
    std::sort(blocks.begin(), blocks.end(), before);
    return blocks;
}

Status read_blocks(FileSystem& files, const StoredVersion& stored, std::span<const StoredBlock> blocks, const ReadBlocksOptions& options, const VisitBlock& visit) {
    if (blocks.empty()) return {};
    // A few blocks need no large buffer, and fresh memory is slower than the disk.
    std::uint64_t all = 0;
    for (const StoredBlock& block : blocks) {
        all += BlockCut(stored.boxes->shards()[block.shard].box, tensor_of(stored, block.shard).dtype).bytes(block.number) + kPage;
    }
    HostBufferOptions buffer_options;
    buffer_options.bytes = std::min(std::max(options.buffer_bytes, kLeastBufferBytes), all);
    buffer_options.prefault = false;
    buffer_options.ledger = options.ledger;
    buffer_options.role = "blocks from disk";
    WSYNC_TRY(const auto buffer, HostBuffer::make(buffer_options));
    const Region memory = HostBuffer::region(buffer);
    while (!blocks.empty()) {
        const Batch batch = next_batch(stored, blocks, memory);
        if (batch.items.empty()) return Error{Code::unsupported, fmt::format("a block of {} is larger than the buffer of {} bytes", stored.checkpoint.files[blocks.front().file], memory.bytes)};
        WSYNC_TRY(const auto digests, files.read(stored.checkpoint.files[blocks.front().file], batch.ranges));
        for (const Batch::Item& item : batch.items) {
            const std::span<const std::byte> bytes(memory.address + item.at, item.bytes);
            WSYNC_TRY_VOID(compare(stored, item, item.ranges == 1 ? digests[item.first_range] : digest_of(bytes)));
            WSYNC_TRY_VOID(visit(*item.block, item.box, bytes));
        }
        blocks = blocks.subspan(batch.items.size());
    }
    return {};
}

}  // namespace wsync
