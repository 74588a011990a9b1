#include "store/checkpoint_files.hpp"

#include "format/safetensors_index.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {

Result<CheckpointFiles> plan_checkpoint_files(const Manifest& manifest, const SafetensorsMetadata& metadata, std::uint64_t shard_bytes) {
    CheckpointFiles plan;
    plan.places.resize(manifest.size());
    std::vector<std::vector<std::uint32_t>> shards(1);
    std::uint64_t filled = 0;
    for (const std::uint32_t t : safetensors_order(manifest)) {
        const std::uint64_t bytes = manifest[t].bytes();
        if (!shards.back().empty() && bytes > shard_bytes - std::min(filled, shard_bytes)) {
            shards.emplace_back();
            filled = 0;
        }
        shards.back().push_back(t);
        filled += bytes;
    }
    SafetensorsIndex index;
    index.total_size = manifest.bytes();
    for (std::size_t i = 0; i < shards.size(); ++i) {
        CheckpointFile file;
        file.name = shards.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
        file.tensors = std::move(shards[i]);
        std::vector<TensorSpec> specs;
        specs.reserve(file.tensors.size());
        for (const std::uint32_t t : file.tensors) specs.push_back(manifest[t]);
        WSYNC_TRY(const auto part, Manifest::make(std::move(specs)));
        WSYNC_TRY(file.header, make_safetensors_header(part, metadata));
        std::uint64_t offset = file.header.size();
        for (const std::uint32_t t : file.tensors) {
            plan.places[t] = {static_cast<std::uint32_t>(i), offset};
            offset += manifest[t].bytes();
            index.weight_map.emplace(manifest[t].name, file.name);
        }
        file.bytes = offset;
        plan.files.push_back(std::move(file));
    }
    if (plan.files.size() > 1) {
        WSYNC_TRY(plan.index, make_safetensors_index(index));
    }
    return plan;
}

}  // namespace wsync
