// Tensor lists from Hugging Face's config.json, in the order of the model's state dict: embedding, layers, norm, head.
#include "model/json_check.hpp"
#include "model/utf8.hpp"
#include "wsync/model/catalogue.hpp"

#include <exception>
#include <fmt/format.h>
#include <limits>
#include <set>

namespace wsync {
namespace {

using nlohmann::json;

// Bounds on what a few bytes of text can make us list; the largest published models are far below.
constexpr std::uint64_t kMaxLayers = 4096;
constexpr std::uint64_t kMaxExtent = 1U << 28;
constexpr std::uint64_t kMaxTensors = 1U << 18;

Error damaged(std::string message) { return Error{Code::corrupt, "config.json: " + std::move(message)}; }

// The fields of a config, by type and within limits. The document is borrowed.
class Fields {
public:
    explicit Fields(const json& document) : document_(document) {}

    [[nodiscard]] bool has(const char* name) const {
        const auto found = document_.find(name);
        return found != document_.end() && !found->is_null();
    }
    [[nodiscard]] Result<std::uint64_t> number(const char* name, std::uint64_t least = 1, std::uint64_t most = kMaxExtent) const {
        if (!has(name)) return damaged(fmt::format("the field \"{}\" is missing", name));
        const json& value = document_.at(name);
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least || value.get<std::uint64_t>() > most) {
            return damaged(fmt::format("\"{}\" must be a whole number from {} to {}", name, least, most));
        }
        return value.get<std::uint64_t>();
    }
    [[nodiscard]] Result<std::uint64_t> number_or(const char* name, std::uint64_t otherwise, std::uint64_t least = 1) const {
        if (!has(name)) return otherwise;
        return number(name, least);
    }
    [[nodiscard]] Result<bool> flag_or(const char* name, bool otherwise) const {
        if (!has(name)) return otherwise;
        const json& value = document_.at(name);
        if (!value.is_boolean()) return damaged(fmt::format("\"{}\" must be true or false", name));
        return value.get<bool>();
    }
    [[nodiscard]] Result<std::string> text(const char* name) const {
        if (!has(name)) return damaged(fmt::format("the field \"{}\" is missing", name));
        const json& value = document_.at(name);
        if (!value.is_string()) return damaged(fmt::format("\"{}\" must be a string", name));
        return value.get<std::string>();
    }
    [[nodiscard]] Result<std::set<std::uint64_t>> numbers(const char* name) const {
        std::set<std::uint64_t> out;
        if (!has(name)) return out;
        const json& list = document_.at(name);
        if (!list.is_array()) return damaged(fmt::format("\"{}\" must be a list", name));
        for (const json& value : list) {
            if (!value.is_number_unsigned()) return damaged(fmt::format("\"{}\" must be a list of whole numbers", name));
            out.insert(value.get<std::uint64_t>());
        }
        return out;
    }
    // "torch_dtype", newer "dtype"; float32 where there is neither, as Hugging Face has it.
    [[nodiscard]] Result<DType> dtype() const {
        const char* name = has("torch_dtype") ? "torch_dtype" : "dtype";
        if (!has(name)) return DType::f32;
        WSYNC_TRY(const std::string spelled, text(name));
        auto dtype = dtype_from_alias(spelled);
        if (!dtype.has_value()) return damaged(fmt::format("\"{}\": {}", name, dtype.error().message));
        return dtype;
    }

private:
    const json& document_;
};

class TensorList {
public:
    explicit TensorList(DType dtype) : dtype_(dtype) {}
    void add(std::string name, Dims shape) { tensors_.push_back({std::move(name), dtype_, shape}); }
    // "x.weight" and, if asked, "x.bias" of its outputs.
    void linear(const std::string& name, std::uint64_t out, std::uint64_t in, bool bias = false) {
        add(name + ".weight", {out, in});
        if (bias) add(name + ".bias", {out});
    }
    [[nodiscard]] std::size_t size() const { return tensors_.size(); }
    Result<Manifest> finish() { return Manifest::make(std::move(tensors_)); }

private:
    DType dtype_;
    std::vector<TensorSpec> tensors_;
};

struct DecoderShape {
    std::uint64_t vocabulary = 0, hidden = 0, layers = 0, heads = 0, key_value_heads = 0, head_dim = 0;
    bool qkv_bias = false, output_bias = false, mlp_bias = false, head_norms = false, tied = false;
    std::uint64_t intermediate = 0;
    std::uint64_t experts = 0, expert_intermediate = 0, sparse_step = 1;
    std::set<std::uint64_t> dense_layers;

    [[nodiscard]] bool sparse(std::uint64_t layer) const {
        return experts != 0 && dense_layers.count(layer) == 0 && (layer + 1) % sparse_step == 0;
    }
};

Result<DecoderShape> read_decoder(const Fields& fields, std::string_view model_type) {
    DecoderShape shape;
    WSYNC_TRY(shape.vocabulary, fields.number("vocab_size"));
    WSYNC_TRY(shape.hidden, fields.number("hidden_size"));
    WSYNC_TRY(shape.layers, fields.number("num_hidden_layers", 1, kMaxLayers));
    WSYNC_TRY(shape.heads, fields.number("num_attention_heads", 1, 1U << 16));
    WSYNC_TRY(shape.key_value_heads, fields.number_or("num_key_value_heads", shape.heads));
    const bool qwen3 = model_type == "qwen3" || model_type == "qwen3_moe";
    if (!fields.has("head_dim") && !qwen3 && shape.hidden % shape.heads != 0) {
        return damaged(fmt::format("hidden_size {} is not a multiple of num_attention_heads {}", shape.hidden, shape.heads));
    }
    WSYNC_TRY(shape.head_dim, fields.number_or("head_dim", qwen3 ? 128 : shape.hidden / shape.heads));
    if (shape.key_value_heads > shape.heads || shape.head_dim * shape.heads > kMaxExtent) {
        return damaged(fmt::format("{} heads of {} with {} key-value heads are out of bounds", shape.heads, shape.head_dim, shape.key_value_heads));
    }
    WSYNC_TRY(shape.tied, fields.flag_or("tie_word_embeddings", false));
    shape.head_norms = qwen3;
    if (model_type == "qwen2") {
        shape.qkv_bias = true;
    } else {
        WSYNC_TRY(shape.qkv_bias, fields.flag_or("attention_bias", false));
        shape.output_bias = shape.qkv_bias;
    }
    if (model_type == "llama") {
        WSYNC_TRY(shape.mlp_bias, fields.flag_or("mlp_bias", false));
    }
    if (model_type == "qwen3_moe") {
        // transformers 5 writes num_local_experts.
        WSYNC_TRY(shape.experts, fields.number(fields.has("num_experts") ? "num_experts" : "num_local_experts", 0, 1U << 16));
        WSYNC_TRY(shape.expert_intermediate, fields.number("moe_intermediate_size"));
        WSYNC_TRY(shape.sparse_step, fields.number_or("decoder_sparse_step", 1));
        WSYNC_TRY(shape.dense_layers, fields.numbers("mlp_only_layers"));
    }
    std::uint64_t tensors = 3;
    bool any_dense = false;
    for (std::uint64_t layer = 0; layer < shape.layers; ++layer) {
        tensors += 16 + (shape.sparse(layer) ? 3 * shape.experts : 0);
        any_dense = any_dense || !shape.sparse(layer);
    }
    if (tensors > kMaxTensors) return damaged(fmt::format("{} layers of {} experts are too many: the limit is {} tensors", shape.layers, shape.experts, kMaxTensors));
    if (any_dense) {
        WSYNC_TRY(shape.intermediate, fields.number("intermediate_size"));
    }
    return shape;
}

void add_mlp(TensorList& list, const std::string& name, std::uint64_t intermediate, const DecoderShape& shape) {
    list.linear(name + ".gate_proj", intermediate, shape.hidden, shape.mlp_bias);
    list.linear(name + ".up_proj", intermediate, shape.hidden, shape.mlp_bias);
    list.linear(name + ".down_proj", shape.hidden, intermediate, shape.mlp_bias);
}

Result<Manifest> decoder_manifest(const DecoderShape& shape, DType dtype) {
    TensorList list(dtype);
    const std::uint64_t queries = shape.heads * shape.head_dim, keys = shape.key_value_heads * shape.head_dim;
    list.add("model.embed_tokens.weight", {shape.vocabulary, shape.hidden});
    for (std::uint64_t i = 0; i < shape.layers; ++i) {
        const std::string layer = fmt::format("model.layers.{}", i);
        const std::string attention = layer + ".self_attn";
        list.linear(attention + ".q_proj", queries, shape.hidden, shape.qkv_bias);
        list.linear(attention + ".k_proj", keys, shape.hidden, shape.qkv_bias);
        list.linear(attention + ".v_proj", keys, shape.hidden, shape.qkv_bias);
        list.linear(attention + ".o_proj", shape.hidden, queries, shape.output_bias);
        if (shape.head_norms) {
            list.add(attention + ".q_norm.weight", {shape.head_dim});
            list.add(attention + ".k_norm.weight", {shape.head_dim});
        }
        if (shape.sparse(i)) {
            list.linear(layer + ".mlp.gate", shape.experts, shape.hidden);
            for (std::uint64_t e = 0; e < shape.experts; ++e) add_mlp(list, fmt::format("{}.mlp.experts.{}", layer, e), shape.expert_intermediate, shape);
        } else {
            add_mlp(list, layer + ".mlp", shape.intermediate, shape);
        }
        list.add(layer + ".input_layernorm.weight", {shape.hidden});
        list.add(layer + ".post_attention_layernorm.weight", {shape.hidden});
    }
    list.add("model.norm.weight", {shape.hidden});
    if (!shape.tied) list.add("lm_head.weight", {shape.vocabulary, shape.hidden});
    return list.finish();
}

Result<Manifest> gpt2_manifest(const Fields& fields, DType dtype) {
    WSYNC_TRY(const std::uint64_t vocabulary, fields.number("vocab_size"));
    WSYNC_TRY(const std::uint64_t n, fields.number("n_embd"));
    WSYNC_TRY(const std::uint64_t layers, fields.number("n_layer", 1, kMaxLayers));
    WSYNC_TRY(const std::uint64_t positions, fields.number("n_positions"));
    WSYNC_TRY(const std::uint64_t inner, fields.number_or("n_inner", 4 * n));
    WSYNC_TRY(const bool tied, fields.flag_or("tie_word_embeddings", true));
    TensorList list(dtype);
    list.add("wte.weight", {vocabulary, n});
    list.add("wpe.weight", {positions, n});
    // Conv1D: [in, out], and a bias of the outputs.
    auto conv = [&](const std::string& name, std::uint64_t in, std::uint64_t out) {
        list.add(name + ".weight", {in, out});
        list.add(name + ".bias", {out});
    };
    auto norm = [&](const std::string& name) {
        list.add(name + ".weight", {n});
        list.add(name + ".bias", {n});
    };
    for (std::uint64_t i = 0; i < layers; ++i) {
        const std::string layer = fmt::format("h.{}", i);
        norm(layer + ".ln_1");
        conv(layer + ".attn.c_attn", n, 3 * n);
        conv(layer + ".attn.c_proj", n, n);
        norm(layer + ".ln_2");
        conv(layer + ".mlp.c_fc", n, inner);
        conv(layer + ".mlp.c_proj", inner, n);
    }
    norm("ln_f");
    if (!tied) list.add("lm_head.weight", {vocabulary, n});
    return list.finish();
}

Result<Manifest> from_document(const json& document) {
    if (!document.is_object()) return damaged("it is not an object");
    const Fields fields(document);
    WSYNC_TRY(const std::string model_type, fields.text("model_type"));
    const bool decoder = model_type == "llama" || model_type == "qwen2" || model_type == "qwen3" || model_type == "qwen3_moe";
    if (!decoder && model_type != "gpt2") {
        return Error{Code::unsupported, fmt::format("config.json: model_type {} is not known: there are llama, qwen2, qwen3, qwen3_moe and gpt2; "
                                                    "give the checkpoint itself instead", in_quotes(model_type, 64))};
    }
    WSYNC_TRY(const DType dtype, fields.dtype());
    if (model_type == "gpt2") return gpt2_manifest(fields, dtype);
    WSYNC_TRY(const DecoderShape shape, read_decoder(fields, model_type));
    return decoder_manifest(shape, dtype);
}

}  // namespace

Result<Manifest> manifest_from_config(std::string_view config_json) {
    try {
        WSYNC_TRY(const json document, parse_json(config_json, "config.json"));
        auto manifest = from_document(document);
        // Sizes beyond a manifest's limits come from the text here.
        if (!manifest.has_value() && manifest.error().code == Code::invalid_argument) return damaged(manifest.error().message);
        return manifest;
    } catch (const std::exception& failure) {
        return damaged(failure.what());
    }
}

}  // namespace wsync
