// How a manifest becomes safetensors files: which tensor in which file at which offset. Pure, no I/O.
#pragma once

#include "format/safetensors.hpp"

namespace wsync {

inline constexpr std::uint64_t kDefaultShardBytes = 5'000'000'000;

struct CheckpointFile {
    std::string name;                    // "model.safetensors", "model-00001-of-00003.safetensors"
    Bytes header;                        // its length is a multiple of 4096
    std::uint64_t bytes = 0;             // of the file
    std::vector<std::uint32_t> tensors;  // indices in the manifest, in file order
};
struct CheckpointFiles {
    std::vector<CheckpointFile> files;
    std::string index;                   // of model.safetensors.index.json; empty for one file
    struct Place {
        std::uint32_t file = 0;
        std::uint64_t offset = 0;        // in the file
    };
    std::vector<Place> places;           // of each tensor of the manifest
};

// No file has more than `shard_bytes` of tensors unless one tensor alone has. Error{invalid_argument}: see
// make_safetensors_header.
[[nodiscard]] Result<CheckpointFiles> plan_checkpoint_files(const Manifest& manifest, const SafetensorsMetadata& metadata,
                                                            std::uint64_t shard_bytes = kDefaultShardBytes);

}  // namespace wsync
