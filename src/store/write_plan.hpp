// What the versions of one layout in one placement have in common when one of its ranks writes its part of them.
#pragma once

#include "store/checkpoint_files.hpp"
#include "store/file_system.hpp"
#include "verify/block_digests.hpp"
#include "wsync/model/placement.hpp"

#include <memory>

namespace wsync {

struct WritePlan {
    // A block on its way: one range, or several where the block is no rows in its file.
    struct Block {
        FileRange range;                         // memory is null: the placement's region is filled in when it is written
        std::uint32_t region = 0;                // in the placement
        std::uint32_t shard = 0;                 // in layout.shards_of(rank)
        std::uint64_t digest = 0;                // its index in the rank's block digests
        bool whole = true;                       // the range is all of the block, and its digest the block's
    };
    // The key: what the plan was made for.
    Digest layout_digest{};
    std::uint32_t rank = 0, ranks = 1;
    Placement placement;
    SafetensorsMetadata metadata;
    std::uint64_t shard_bytes = 0;

    CheckpointFiles files;
    Digest files_digest{};                       // of their names and headers: the same for all ranks
    std::vector<std::vector<Block>> blocks;      // of each file, by offset: those that this rank writes
    std::vector<char> headers;                   // of each file: whether this rank writes its header
    std::vector<std::uint64_t> first_digest;     // of each shard of the rank; shards + 1
    std::vector<char> writes;                    // of each shard of the rank; not of a replica that another rank writes
    Layout boxes;                                // one rank that holds every distinct box: how the digests are cut
    std::vector<std::uint32_t> first_holder;     // of each shard of `boxes`, its first in layout.shards()
    std::uint64_t box_blocks = 0;                // of all of `boxes`
    Bytes tensors;                               // `boxes` as wsync.digests has it
};

// Proves that the layout is full and the rank's shards inside the placement. Each distinct box is written by one of its
// holders, by bytes as evenly as it goes; a pure function, the same on all ranks. Error{invalid_argument}.
[[nodiscard]] Result<std::shared_ptr<const WritePlan>> make_write_plan(const Layout& layout, std::uint32_t rank, const Placement& placement,
                                                                       const SafetensorsMetadata& metadata, std::uint64_t shard_bytes);
// Whether `plan` (may be null) is for these.
[[nodiscard]] bool fits(const WritePlan* plan, const Layout& layout, std::uint32_t rank, const Placement& placement, const SafetensorsMetadata& metadata,
                        std::uint64_t shard_bytes);

}  // namespace wsync
