// The blocks of a version on disk, read whole and proved.
#pragma once

#include "memory/ledger.hpp"
#include "store/version_reader.hpp"

namespace wsync {

// One block of a version's digests.
struct StoredBlock {
    std::uint32_t file = 0;
    std::uint32_t shard = 0;              // in boxes->shards()
    std::uint64_t number = 0;             // in the shard
    std::uint64_t offset = 0;             // in the file, of its first byte
    friend bool operator==(const StoredBlock&, const StoredBlock&) = default;
};

// Precondition: the shard is one of the version's, the number one of its blocks'.
[[nodiscard]] StoredBlock find_block(const StoredVersion& stored, std::uint32_t shard, std::uint64_t number);
// All of them, as they lie in the files.
[[nodiscard]] std::vector<StoredBlock> all_blocks(const StoredVersion& stored);

struct ReadBlocksOptions {
    std::uint64_t buffer_bytes = 16 << 20;  // at least 4 MiB are taken, but no more than the blocks need
    MemoryLedger* ledger = nullptr;       // borrowed; may be null
};
// What a block is: its box of the tensor, and its bytes, packed row-major, for the time of the call.
using VisitBlock = std::function<Status(const StoredBlock& block, const Box& box, std::span<const std::byte> bytes)>;

// Reads each block and hands it to `visit` once its digest agrees. `blocks` are ordered as all_blocks orders them, none
// twice. Error{corrupt} names the file, the tensor and the block; or what `visit` returned.
[[nodiscard]] Status read_blocks(FileSystem& files, const StoredVersion& stored, std::span<const StoredBlock> blocks, const ReadBlocksOptions& options,
                                 const VisitBlock& visit);

}  // namespace wsync
