// Layouts from mesh descriptions: FSDP, HSDP, tensor, pipeline and expert parallel.
#pragma once

#include "wsync/model/layout.hpp"

#include <string>

namespace wsync {

// How tensor parallelism cuts a tensor: along one dimension, or not at all (replicated).
struct TensorParallelRule {
    std::string suffix;        // of the name, e.g. "q_proj.weight"; the first rule that matches counts
    int dim = -1;              // -1: replicated on every tensor parallel rank
};
// Megatron's rules for Hugging Face names of llama, qwen2, qwen3, qwen3-moe and gpt2: column parallel (dim 0) for
// q/k/v/gate/up, embedding and head, row parallel (dim 1) for o/down, replicated norms.
[[nodiscard]] std::vector<TensorParallelRule> default_tensor_parallel_rules();

struct MeshOptions {
    std::uint32_t fully_sharded = 1;    // FSDP: dim 0 in chunks as torch.chunk cuts (ceil; trailing ranks shorter or empty)
    std::uint32_t replicas = 1;         // HSDP: copies of the whole sharded group
    std::uint32_t tensor_parallel = 1;
    std::uint32_t pipeline = 1;         // layers "layers.N." / "h.N." in contiguous stages; embeddings first, norm and head last
    std::uint32_t experts = 1;          // expert parallel: "experts.N." in contiguous groups; the rest is replicated over it
    std::vector<TensorParallelRule> rules = default_tensor_parallel_rules();
};
// Rank = ((((replica * pipeline + stage) * experts + expert) * fully_sharded + shard) * tensor_parallel + tp).
// Tensor parallel is cut first, then FSDP cuts dim 0 of what is left. Sub-byte types are cut on whole bytes.
[[nodiscard]] Result<Layout> make_mesh_layout(const Manifest& manifest, const MeshOptions& mesh);

// Whole tensors dealt out in order: tensor i belongs to rank i mod ranks.
[[nodiscard]] Result<Layout> make_round_robin_layout(const Manifest& manifest, std::uint32_t ranks);

}  // namespace wsync
