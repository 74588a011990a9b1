#include "wsync/model/catalogue.hpp"

#include "result_matchers.hpp"

#include <map>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

constexpr std::string_view kGpt2 = R"({"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257, "n_inner": null})";

TEST(Catalogue, TotalsAreThePublishedOnes) {
    const std::map<std::string_view, std::pair<std::uint64_t, std::size_t>> published = {
        {"qwen2.5-0.5b", {494'032'768, 290}},     {"qwen3-8b", {8'190'735'360, 399}},         {"llama-3.1-8b", {8'030'261'248, 291}},
        {"llama-3.1-70b", {70'553'706'496, 723}}, {"qwen3-30b-a3b", {30'532'122'624, 18867}},
    };
    ASSERT_EQ(catalogue().size(), published.size());
    for (const CatalogueEntry& entry : catalogue()) {
        const auto manifest = catalogue_manifest(entry.id);
        ASSERT_OK(manifest);
        EXPECT_EQ(manifest->parameters(), published.at(entry.id).first) << entry.id;
        EXPECT_EQ(manifest->parameters(), entry.parameters) << entry.id;
        EXPECT_EQ(manifest->size(), published.at(entry.id).second) << entry.id;
        EXPECT_EQ(manifest->bytes(), 2 * entry.parameters) << entry.id;
    }
    EXPECT_THAT(catalogue_manifest("gpt-5"), HasError(Code::not_found, "llama-3.1-70b"));
}

TEST(Catalogue, Qwen2HasBiasesAndTiesItsHead) {
    const auto manifest = catalogue_manifest("qwen2.5-0.5b").value();
    const std::vector<TensorSpec> first = {
        {"model.embed_tokens.weight", DType::bf16, {151936, 896}},
        {"model.layers.0.self_attn.q_proj.weight", DType::bf16, {896, 896}},
        {"model.layers.0.self_attn.q_proj.bias", DType::bf16, {896}},
        {"model.layers.0.self_attn.k_proj.weight", DType::bf16, {128, 896}},
        {"model.layers.0.self_attn.k_proj.bias", DType::bf16, {128}},
        {"model.layers.0.self_attn.v_proj.weight", DType::bf16, {128, 896}},
        {"model.layers.0.self_attn.v_proj.bias", DType::bf16, {128}},
        {"model.layers.0.self_attn.o_proj.weight", DType::bf16, {896, 896}},
        {"model.layers.0.mlp.gate_proj.weight", DType::bf16, {4864, 896}},
        {"model.layers.0.mlp.up_proj.weight", DType::bf16, {4864, 896}},
        {"model.layers.0.mlp.down_proj.weight", DType::bf16, {896, 4864}},
        {"model.layers.0.input_layernorm.weight", DType::bf16, {896}},
        {"model.layers.0.post_attention_layernorm.weight", DType::bf16, {896}},
    };
    EXPECT_EQ(std::vector(manifest.tensors().begin(), manifest.tensors().begin() + 13), first);
    EXPECT_EQ(manifest.tensors().back().name, "model.norm.weight");
    EXPECT_FALSE(manifest.find("lm_head.weight"));
}

TEST(Catalogue, Qwen3MoeHasRoutersExpertsAndHeadNorms) {
    const auto manifest = catalogue_manifest("qwen3-30b-a3b").value();
    EXPECT_EQ(manifest[manifest.find("model.layers.47.mlp.gate.weight").value()].shape, (Dims{128, 2048}));
    EXPECT_EQ(manifest[manifest.find("model.layers.47.mlp.experts.127.down_proj.weight").value()].shape, (Dims{2048, 768}));
    EXPECT_EQ(manifest[manifest.find("model.layers.0.self_attn.q_norm.weight").value()].shape, (Dims{128}));
    EXPECT_EQ(manifest[manifest.find("model.layers.0.self_attn.q_proj.weight").value()].shape, (Dims{4096, 2048}));
    EXPECT_EQ(manifest[manifest.find("model.layers.0.self_attn.k_proj.weight").value()].shape, (Dims{512, 2048}));
    EXPECT_EQ(manifest.tensors().back().name, "lm_head.weight");
}

TEST(Config, Gpt2IsTransposedAndTied) {
    const auto manifest = manifest_from_config(kGpt2).value();
    EXPECT_EQ(manifest.parameters(), 124'439'808U);
    EXPECT_EQ(manifest.size(), 148U);
    EXPECT_EQ(manifest[0], (TensorSpec{"wte.weight", DType::f32, {50257, 768}}));
    EXPECT_EQ(manifest[manifest.find("h.11.attn.c_attn.weight").value()].shape, (Dims{768, 2304}));
    EXPECT_EQ(manifest[manifest.find("h.11.mlp.c_proj.weight").value()].shape, (Dims{3072, 768}));
}

TEST(Config, SparseStepAndDenseLayers) {
    const auto manifest = manifest_from_config(R"({"model_type": "qwen3_moe", "dtype": "float16", "vocab_size": 10, "hidden_size": 4, "intermediate_size": 6,
        "moe_intermediate_size": 2, "num_experts": 3, "decoder_sparse_step": 2, "mlp_only_layers": [3], "num_hidden_layers": 4,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "attention_bias": true, "tie_word_embeddings": true})").value();
    EXPECT_TRUE(manifest.find("model.layers.0.mlp.gate_proj.weight"));
    EXPECT_TRUE(manifest.find("model.layers.1.mlp.experts.2.gate_proj.weight"));
    EXPECT_TRUE(manifest.find("model.layers.2.mlp.gate_proj.weight"));
    EXPECT_TRUE(manifest.find("model.layers.3.mlp.gate_proj.weight"));
    EXPECT_TRUE(manifest.find("model.layers.0.self_attn.o_proj.bias"));
    EXPECT_EQ(manifest[0].dtype, DType::f16);
}

TEST(Config, RefusesWhatItCanNotRead) {
    EXPECT_THAT(manifest_from_config(""), HasCode(Code::corrupt));
    EXPECT_THAT(manifest_from_config("[]"), HasCode(Code::corrupt));
    EXPECT_THAT(manifest_from_config("{\"model_type\": 7}"), HasError(Code::corrupt, "model_type"));
    EXPECT_THAT(manifest_from_config("{}"), HasError(Code::corrupt, "model_type"));
    EXPECT_THAT(manifest_from_config("{\"model_type\": \"bert\"}"), HasError(Code::unsupported, "bert"));
    EXPECT_THAT(manifest_from_config("{\"model_type\": \"llama\"}"), HasError(Code::corrupt, "vocab_size"));
    EXPECT_THAT(manifest_from_config(R"({"model_type": "gpt2", "model_type": "gpt2"})"), HasError(Code::corrupt, "twice"));
    EXPECT_THAT(manifest_from_config(R"({"model_type": "gpt2", "n": 1e400})"), HasCode(Code::corrupt));
    EXPECT_THAT(manifest_from_config(std::string("{\"model_type\": \"\xFF\"}")), HasCode(Code::corrupt));
    EXPECT_THAT(manifest_from_config(std::string(500'000, '[')), HasError(Code::corrupt, "deeper"));
    EXPECT_THAT(manifest_from_config(std::string(2'000'000, ' ')), HasError(Code::corrupt, "limit"));
    for (std::string_view bad : {"0", "-1", "1.5", "\"12\"", "1e3", "99999999999999999999", "null", "5000"}) {
        std::string config(kGpt2);
        config.replace(config.find("\"n_layer\": 12"), 13, "\"n_layer\": " + std::string(bad));
        EXPECT_THAT(manifest_from_config(config), HasError(Code::corrupt, "n_layer")) << bad;
    }
    std::string config(catalogue()[4].config_json);
    config.replace(config.find("\"num_experts\": 128"), 18, "\"num_experts\": 60000");
    EXPECT_THAT(manifest_from_config(config), HasError(Code::corrupt, "limit"));
}

TEST(OfSize, IsExact) {
    for (std::uint64_t bytes : {2ULL, 64ULL, 66ULL, 1'000ULL, 123'456ULL, 1'000'000ULL, 90'900'002ULL, 1'000'000'000ULL, 4ULL << 30, 140'000'000'000ULL, 1ULL << 46}) {
        const auto manifest = manifest_of_size(bytes);
        ASSERT_OK(manifest);
        EXPECT_EQ(manifest->bytes(), bytes);
        for (const TensorSpec& tensor : manifest->tensors()) EXPECT_EQ(tensor.dtype, DType::bf16);
        if (bytes >= 1'000'000) {
            EXPECT_GT(manifest->size(), 100U);
        }
        EXPECT_LT(manifest->size(), 1'000'000U);
    }
    EXPECT_THAT(manifest_of_size(0), HasCode(Code::invalid_argument));
    EXPECT_THAT(manifest_of_size(3), HasCode(Code::invalid_argument));
    EXPECT_THAT(manifest_of_size(~std::uint64_t{1}), HasCode(Code::invalid_argument));
}

TEST(Uniform, CountsAndSizes) {
    const auto manifest = uniform_manifest(20'000, 48 * 1024).value();
    EXPECT_EQ(manifest.size(), 20'000U);
    EXPECT_EQ(manifest.bytes(), 20'000ULL * 48 * 1024);
    EXPECT_THAT(uniform_manifest(0, 2), HasCode(Code::invalid_argument));
    EXPECT_THAT(uniform_manifest(1, 3), HasCode(Code::invalid_argument));
    EXPECT_THAT(uniform_manifest(~0U, 2), HasCode(Code::invalid_argument));
    EXPECT_THAT(uniform_manifest(2, ~std::uint64_t{1}), HasCode(Code::invalid_argument));
}

}  // namespace
}  // namespace wsync
