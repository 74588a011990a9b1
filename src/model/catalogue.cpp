#include "wsync/model/catalogue.hpp"

#include "model/utf8.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::uint32_t kMaxUniformTensors = 1U << 20;
constexpr std::uint64_t kMaxModelBytes = std::uint64_t{1} << 46;

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message)}; }

}  // namespace

const std::vector<CatalogueEntry>& catalogue() {
    static const std::vector<CatalogueEntry> entries = {
        {"qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", 494'032'768,
         R"({"model_type": "qwen2", "torch_dtype": "bfloat16", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
             "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": true})"},
        {"qwen3-8b", "Qwen/Qwen3-8B", 8'190'735'360,
         R"({"model_type": "qwen3", "torch_dtype": "bfloat16", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
             "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "attention_bias": false,
             "tie_word_embeddings": false})"},
        {"llama-3.1-8b", "meta-llama/Llama-3.1-8B", 8'030'261'248,
         R"({"model_type": "llama", "torch_dtype": "bfloat16", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
             "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "attention_bias": false, "mlp_bias": false,
             "tie_word_embeddings": false})"},
        {"llama-3.1-70b", "meta-llama/Llama-3.1-70B", 70'553'706'496,
         R"({"model_type": "llama", "torch_dtype": "bfloat16", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
             "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "attention_bias": false, "mlp_bias": false,
             "tie_word_embeddings": false})"},
        {"qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", 30'532'122'624,
         R"({"model_type": "qwen3_moe", "torch_dtype": "bfloat16", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144,
             "moe_intermediate_size": 768, "num_experts": 128, "decoder_sparse_step": 1, "mlp_only_layers": [], "num_hidden_layers": 48,
             "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "attention_bias": false, "tie_word_embeddings": false})"},
    };
    return entries;
}

Result<Manifest> catalogue_manifest(std::string_view id) {
    std::string known;
    for (const CatalogueEntry& entry : catalogue()) {
        if (entry.id == id) return manifest_from_config(entry.config_json);
        known += fmt::format("{}{}", known.empty() ? "" : ", ", entry.id);
    }
    return Error{Code::not_found, fmt::format("no model {} in the catalogue: there are {}", in_quotes(id, 64), known)};
}

Result<Manifest> manifest_of_size(std::uint64_t bytes) {
    if (bytes == 0 || bytes % 2 != 0) return bad(fmt::format("a model of {} bytes can't be made of bf16 tensors: give an even number above 0", bytes));
    if (bytes > kMaxModelBytes) return bad(fmt::format("a model of {} bytes is beyond the limit of {}", bytes, kMaxModelBytes));
    std::uint64_t left = bytes / 2;
    // The widest model of at least 16 layers that leaves a tenth for the embedding.
    constexpr std::uint64_t kLayers = 16;
    auto layer_parameters = [](std::uint64_t h) { return 2 * h * h + h * h / 2 + 3 * h * (h * 7 / 2) + 2 * h; };
    std::uint64_t h = 32;
    while (h < 16384 && kLayers * layer_parameters(h * 2) <= left / 10 * 9) h *= 2;
    const std::uint64_t layers = left / 10 * 9 / layer_parameters(h);
    left -= layers * layer_parameters(h);

    std::vector<TensorSpec> tensors;
    auto add = [&](std::string name, Dims shape) { tensors.push_back({std::move(name), DType::bf16, shape}); };
    // What the layers and the last norm leave; the rest of less than a row is a tensor of its own.
    const std::uint64_t norm = layers != 0 && left >= 2 * h ? h : 0;
    const std::uint64_t rows = (left - norm) / h;
    const std::uint64_t rest = (left - norm) % h;
    if (rows != 0) add("model.embed_tokens.weight", {rows, h});
    for (std::uint64_t i = 0; i < layers; ++i) {
        const std::string layer = fmt::format("model.layers.{}.", i);
        add(layer + "self_attn.q_proj.weight", {h, h});
        add(layer + "self_attn.k_proj.weight", {h / 4, h});
        add(layer + "self_attn.v_proj.weight", {h / 4, h});
        add(layer + "self_attn.o_proj.weight", {h, h});
        add(layer + "mlp.gate_proj.weight", {h * 7 / 2, h});
        add(layer + "mlp.up_proj.weight", {h * 7 / 2, h});
        add(layer + "mlp.down_proj.weight", {h, h * 7 / 2});
        add(layer + "input_layernorm.weight", {h});
        add(layer + "post_attention_layernorm.weight", {h});
    }
    if (norm != 0) add("model.norm.weight", {norm});
    if (rest != 0) add("model.rest.weight", {rest});
    return Manifest::make(std::move(tensors));
}

Result<Manifest> uniform_manifest(std::uint32_t count, std::uint64_t bytes_each) {
    if (count == 0 || count > kMaxUniformTensors) return bad(fmt::format("{} tensors: give 1 to {}", count, kMaxUniformTensors));
    if (bytes_each % 2 != 0) return bad(fmt::format("a bf16 tensor of {} bytes: give an even number", bytes_each));
    std::vector<TensorSpec> tensors;
    tensors.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) tensors.push_back({fmt::format("model.layers.{}.weight", i), DType::bf16, {bytes_each / 2}});
    return Manifest::make(std::move(tensors));
}

}  // namespace wsync
