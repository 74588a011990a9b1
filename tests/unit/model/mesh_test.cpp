#include "wsync/model/mesh.hpp"

#include "result_matchers.hpp"
#include "wsync/model/catalogue.hpp"

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

Manifest one(Dims shape, DType dtype = DType::bf16, std::string name = "w") { return Manifest::make({{std::move(name), dtype, shape}}).value(); }

std::vector<std::pair<std::uint64_t, std::uint64_t>> rows_by_rank(const Layout& layout, std::size_t dim = 0) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> rows(layout.ranks());
    for (const Shard& shard : layout.shards()) rows[shard.rank] = {shard.box.offset[dim], shard.box.size[dim]};
    return rows;
}
using Rows = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

TEST(Mesh, FsdpCutsAsTorchChunk) {
    // torch.chunk(10, 4) has sizes 3, 3, 3, 1; torch.chunk(5, 4) has 2, 2, 1 and nothing for the last rank.
    EXPECT_EQ(rows_by_rank(make_mesh_layout(one({10, 2}), {.fully_sharded = 4}).value()), (Rows{{0, 3}, {3, 3}, {6, 3}, {9, 1}}));
    EXPECT_EQ(rows_by_rank(make_mesh_layout(one({5}), {.fully_sharded = 4}).value()), (Rows{{0, 2}, {2, 2}, {4, 1}, {0, 0}}));
    EXPECT_EQ(make_mesh_layout(one({2}), {.fully_sharded = 8}).value().shards().size(), 2U);
    EXPECT_EQ(make_mesh_layout(one({}), {.fully_sharded = 8}).value().shards().size(), 1U);
    EXPECT_EQ(make_mesh_layout(one({0, 4}), {.fully_sharded = 8}).value().shards().size(), 0U);
}

TEST(Mesh, SubByteTypesAreCutOnWholeBytes) {
    // ceil(10 / 4) is 3, rounded up to 4 elements of 4 bits.
    EXPECT_EQ(rows_by_rank(make_mesh_layout(one({10}, DType::f4), {.fully_sharded = 4}).value()), (Rows{{0, 4}, {4, 4}, {8, 2}, {0, 0}}));
    // Rows of 3 elements of 4 bits: two rows are the least whole number of bytes.
    EXPECT_EQ(rows_by_rank(make_mesh_layout(one({6, 3}, DType::f4), {.fully_sharded = 3}).value()), (Rows{{0, 2}, {2, 2}, {4, 2}}));
    EXPECT_EQ(rows_by_rank(make_mesh_layout(one({6, 3}, DType::f4), {.fully_sharded = 6}).value()), (Rows{{0, 2}, {2, 2}, {4, 2}, {0, 0}, {0, 0}, {0, 0}}));
    EXPECT_OK(make_mesh_layout(one({8, 16}, DType::f6_e2m3, "o_proj.weight"), {.fully_sharded = 2, .tensor_parallel = 4}));
    EXPECT_THAT(make_mesh_layout(one({8, 3}, DType::f4, "o_proj.weight"), {.tensor_parallel = 2}), HasError(Code::invalid_argument, "inside a byte"));
}

TEST(Mesh, TensorParallelFollowsTheRules) {
    const auto manifest = Manifest::make({{"model.layers.0.self_attn.q_proj.weight", DType::bf16, {8, 6}},
                                          {"model.layers.0.self_attn.o_proj.weight", DType::bf16, {6, 8}},
                                          {"model.layers.0.input_layernorm.weight", DType::bf16, {6}},
                                          {"h.0.attn.c_attn.weight", DType::bf16, {6, 18}}})
                              .value();
    const auto layout = make_mesh_layout(manifest, {.tensor_parallel = 2}).value();
    ASSERT_EQ(layout.shards_of(1).size(), 4U);
    EXPECT_EQ(layout.shards_of(1)[0].box, (Box{{4, 0}, {4, 6}}));
    EXPECT_EQ(layout.shards_of(1)[1].box, (Box{{0, 4}, {6, 4}}));
    EXPECT_EQ(layout.shards_of(1)[2].box, (Box{{0}, {6}})) << "replicated";
    EXPECT_EQ(layout.shards_of(1)[3].box, (Box{{0, 9}, {6, 9}})) << "Conv1D is transposed";
    EXPECT_THAT(make_mesh_layout(manifest, {.tensor_parallel = 2, .rules = {{"layernorm.weight", 1}}}), HasError(Code::invalid_argument, "layernorm"));
}

TEST(Mesh, FsdpCutsWhatTensorParallelLeft) {
    const auto layout = make_mesh_layout(one({8, 6}, DType::bf16, "q_proj.weight"), {.fully_sharded = 3, .tensor_parallel = 2}).value();
    // rank = shard * 2 + tp; 4 rows a tensor parallel rank, in chunks of 2, 2, 0.
    EXPECT_EQ(rows_by_rank(layout), (Rows{{0, 2}, {4, 2}, {2, 2}, {6, 2}, {0, 0}, {0, 0}}));
}

TEST(Mesh, HsdpReplicatesTheGroup) {
    const auto layout = make_mesh_layout(one({4}), {.fully_sharded = 2, .replicas = 2}).value();
    EXPECT_EQ(rows_by_rank(layout), (Rows{{0, 2}, {2, 2}, {0, 2}, {2, 2}}));
}

TEST(Mesh, PipelineStagesAreContiguous) {
    const auto manifest = catalogue_manifest("llama-3.1-8b").value();
    const auto layout = make_mesh_layout(manifest, {.pipeline = 5}).value();
    std::vector<std::vector<bool>> stages(32, std::vector<bool>(5, false));
    for (const Shard& shard : layout.shards()) {
        const std::string& name = manifest[shard.tensor].name;
        if (name == "model.embed_tokens.weight") {
            EXPECT_EQ(shard.rank, 0U);
        } else if (name == "model.norm.weight" || name == "lm_head.weight") {
            EXPECT_EQ(shard.rank, 4U);
        } else {
            stages[std::stoul(name.substr(std::string("model.layers.").size()))][shard.rank] = true;
        }
    }
    std::vector<int> stage_of_layer;
    for (const auto& stage : stages) {
        EXPECT_EQ(std::count(stage.begin(), stage.end(), true), 1);
        stage_of_layer.push_back(static_cast<int>(std::find(stage.begin(), stage.end(), true) - stage.begin()));
    }
    EXPECT_TRUE(std::is_sorted(stage_of_layer.begin(), stage_of_layer.end()));
    EXPECT_EQ(std::count(stage_of_layer.begin(), stage_of_layer.end(), 0), 7);
    EXPECT_EQ(std::count(stage_of_layer.begin(), stage_of_layer.end(), 4), 6);
    EXPECT_THAT(make_mesh_layout(manifest, {.pipeline = 33}), HasError(Code::invalid_argument, "32"));
}

TEST(Mesh, ExpertsAreSpreadAndTheRestReplicated) {
    const auto manifest = catalogue_manifest("qwen3-30b-a3b").value();
    const auto layout = make_mesh_layout(manifest, {.experts = 8}).value();
    const auto dense = 48U * 9 + 3;
    for (std::uint32_t rank = 0; rank < 8; ++rank) {
        EXPECT_EQ(layout.shards_of(rank).size(), dense + 48U * 16 * 3);
        for (const Shard& shard : layout.shards_of(rank)) {
            const std::string& name = manifest[shard.tensor].name;
            const auto at = name.find("experts.");
            if (at != std::string::npos) {
                EXPECT_EQ(std::stoul(name.substr(at + 8)) / 16, rank) << name;
            }
        }
    }
    EXPECT_THAT(make_mesh_layout(manifest, {.experts = 129}), HasCode(Code::invalid_argument));
}

TEST(Mesh, AllAtOnceHasTheRanksInTheDocumentedOrder) {
    const auto manifest = catalogue_manifest("qwen3-30b-a3b").value();
    const MeshOptions mesh{.fully_sharded = 2, .replicas = 2, .tensor_parallel = 2, .pipeline = 3, .experts = 4};
    const auto layout = make_mesh_layout(manifest, mesh).value();
    ASSERT_EQ(layout.ranks(), 96U);
    // Replica 1, stage 2, expert group 3, shard 1, tensor parallel 0.
    const std::uint32_t rank = (((1 * 3 + 2) * 4 + 3) * 2 + 1) * 2 + 0;
    const auto wanted = *manifest.find("model.layers.40.mlp.experts.100.down_proj.weight");
    const auto shards = layout.shards_of(rank);
    const auto found = std::find_if(shards.begin(), shards.end(), [&](const Shard& s) { return s.tensor == wanted; });
    ASSERT_NE(found, shards.end());
    EXPECT_EQ(found->box, (Box{{1024, 0}, {1024, 384}}));
    std::uint64_t bytes = 0;
    for (std::uint32_t r = 0; r < layout.ranks(); ++r) bytes += layout.bytes_of(r);
    EXPECT_GT(bytes, manifest.bytes() * 2);
}

TEST(Mesh, ThousandsOfRanks) {
    const auto layout = make_mesh_layout(catalogue_manifest("llama-3.1-70b").value(), {.fully_sharded = 512, .tensor_parallel = 8}).value();
    EXPECT_EQ(layout.ranks(), 4096U);
    EXPECT_GT(layout.shards().size(), 2'000'000U);
}

TEST(Mesh, RefusesNonsense) {
    EXPECT_THAT(make_mesh_layout(one({4}), {.fully_sharded = 0}), HasCode(Code::invalid_argument));
    EXPECT_THAT(make_mesh_layout(one({4}), {.fully_sharded = 1U << 31, .replicas = 1U << 31}), HasCode(Code::invalid_argument));
    EXPECT_THAT(make_mesh_layout(catalogue_manifest("qwen3-30b-a3b").value(), {.fully_sharded = 1024}), HasError(Code::invalid_argument, "limit"));
}

TEST(RoundRobin, DealsWholeTensors) {
    const auto layout = make_round_robin_layout(uniform_manifest(5, 8).value(), 3).value();
    EXPECT_EQ(layout.shards_of(0).size(), 2U);
    EXPECT_EQ(layout.shards_of(2).size(), 1U);
    EXPECT_EQ(layout.shards_of(1)[1].tensor, 4U);
    EXPECT_THAT(make_round_robin_layout(uniform_manifest(5, 8).value(), 0), HasCode(Code::invalid_argument));
}

}  // namespace
}  // namespace wsync
