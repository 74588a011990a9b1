// The model catalogue: real tensor lists (names, shapes, types) without the weights, in the order of the model's state dict:
// embedding, layers one after the other, norm, head.
#pragma once

#include "wsync/model/manifest.hpp"

#include <string_view>
#include <vector>

namespace wsync {

struct CatalogueEntry {
    std::string_view id;             // "qwen3-8b"
    std::string_view repository;     // where the config was published, "Qwen/Qwen3-8B"
    std::uint64_t parameters;        // as published (the sum over the checkpoint's tensors)
    std::string_view config_json;    // the fields of config.json that the tensor list depends on
};

// qwen2.5-0.5b, qwen3-8b, llama-3.1-8b, llama-3.1-70b, qwen3-30b-a3b.
[[nodiscard]] const std::vector<CatalogueEntry>& catalogue();
// By id. Error{not_found} lists the ids.
[[nodiscard]] Result<Manifest> catalogue_manifest(std::string_view id);
// From the text of a Hugging Face config.json (at most 1 MiB): model_type llama, qwen2, qwen3, qwen3_moe or gpt2.
// Error{corrupt} for bad JSON or missing fields, Error{unsupported} for another model_type.
[[nodiscard]] Result<Manifest> manifest_from_config(std::string_view config_json);
// A stand-in of the given size: bf16 tensors as a transformer has them (some large, many small), exactly `bytes` in all.
[[nodiscard]] Result<Manifest> manifest_of_size(std::uint64_t bytes);
// `count` equal bf16 tensors of `bytes_each`.
[[nodiscard]] Result<Manifest> uniform_manifest(std::uint32_t count, std::uint64_t bytes_each);

}  // namespace wsync
