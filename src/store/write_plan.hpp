// What the versions of one layout in one placement have in common when they are written.
#pragma once

#include "store/checkpoint_files.hpp"
#include "verify/block_digests.hpp"
#include "wsync/model/placement.hpp"

#include <memory>

namespace wsync {

struct WritePlan {
    // One block on its way.
    struct Block {
        std::uint64_t offset = 0;                // in the file
        std::uint32_t region = 0;                // in the placement
        std::uint64_t region_offset = 0, bytes = 0;
        std::uint32_t shard = 0;                 // in layout.shards_of(0)
        std::uint64_t digest = 0;                // its index in the block digests
    };
    // The key: what the plan was made for.
    Digest layout_digest{};
    Placement placement;
    SafetensorsMetadata metadata;
    std::uint64_t shard_bytes = 0;

    CheckpointFiles files;
    std::vector<std::vector<Block>> blocks;      // of each file, by offset
    std::vector<std::uint64_t> first_digest;     // of each shard; shards + 1
    Bytes manifest;                              // as a record
};

// Proves that the layout is one rank's, whole tensors, inside the placement. Error{unsupported} or {invalid_argument}.
[[nodiscard]] Result<std::shared_ptr<const WritePlan>> make_write_plan(const Layout& layout, const Placement& placement,
                                                                       const SafetensorsMetadata& metadata, std::uint64_t shard_bytes);
// Whether `plan` (may be null) is for these.
[[nodiscard]] bool fits(const WritePlan* plan, const Layout& layout, const Placement& placement, const SafetensorsMetadata& metadata,
                        std::uint64_t shard_bytes);

}  // namespace wsync
