// What a plan costs: thousands of ranks, hundreds of tensors. No weights are touched.
#include "plan/segments.hpp"
#include "wsync/model/mesh.hpp"
#include "wsync/plan/plan.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

namespace {

using namespace wsync;

// About 300 tensors as a dense transformer has them: 33 layers of 9, and the ends.
Manifest transformer(std::uint64_t layers) {
    std::vector<TensorSpec> tensors{{"model.embed_tokens.weight", DType::bf16, {128256, 8192}}};
    for (std::uint64_t i = 0; i < layers; ++i) {
        const std::string layer = fmt::format("model.layers.{}.", i);
        tensors.push_back({layer + "input_layernorm.weight", DType::bf16, {8192}});
        tensors.push_back({layer + "self_attn.q_proj.weight", DType::bf16, {8192, 8192}});
        tensors.push_back({layer + "self_attn.k_proj.weight", DType::bf16, {1024, 8192}});
        tensors.push_back({layer + "self_attn.v_proj.weight", DType::bf16, {1024, 8192}});
        tensors.push_back({layer + "self_attn.o_proj.weight", DType::bf16, {8192, 8192}});
        tensors.push_back({layer + "post_attention_layernorm.weight", DType::bf16, {8192}});
        tensors.push_back({layer + "mlp.gate_proj.weight", DType::bf16, {28672, 8192}});
        tensors.push_back({layer + "mlp.up_proj.weight", DType::bf16, {28672, 8192}});
        tensors.push_back({layer + "mlp.down_proj.weight", DType::bf16, {8192, 28672}});
    }
    tensors.push_back({"model.norm.weight", DType::bf16, {8192}});
    tensors.push_back({"lm_head.weight", DType::bf16, {128256, 8192}});
    return Manifest::make(std::move(tensors)).value();
}

Layout mesh(std::uint32_t fully_sharded, std::uint32_t tensor_parallel, std::uint32_t replicas = 1) {
    MeshOptions options;
    options.fully_sharded = fully_sharded;
    options.tensor_parallel = tensor_parallel;
    options.replicas = replicas;
    return make_mesh_layout(transformer(33), options).value();
}

void plan(benchmark::State& state, const Layout& source, const Layout& sink, const PlanOptions& options) {
    std::size_t copies = 0;
    for (auto _ : state) {
        auto result = make_plan(source, sink, {}, options).value();
        copies = result.copies().size();
        benchmark::DoNotOptimize(result);
    }
    state.counters["tensors"] = static_cast<double>(source.manifest().size());
    state.counters["copies"] = static_cast<double>(copies);
}

void fsdp2048_to_one_tp8_rank(benchmark::State& state) { plan(state, mesh(2048, 1), mesh(1, 8), {.sink_ranks = {3}}); }
void fsdp64_to_fsdp64(benchmark::State& state) { plan(state, mesh(64, 1), mesh(64, 1), {}); }
void fsdp64_to_tp8_all_ranks(benchmark::State& state) { plan(state, mesh(64, 1), mesh(1, 8), {}); }
void fsdp64_tp8_to_one_tp16_rank(benchmark::State& state) { plan(state, mesh(64, 8), mesh(1, 16), {.sink_ranks = {5}}); }
void hsdp8x256_to_one_full_receiver(benchmark::State& state) { plan(state, mesh(256, 1, 8), mesh(1, 1), {}); }
void one_to_one_full(benchmark::State& state) { plan(state, mesh(1, 1), mesh(1, 1), {}); }
BENCHMARK(fsdp2048_to_one_tp8_rank)->Unit(benchmark::kMillisecond);
BENCHMARK(fsdp64_to_fsdp64)->Unit(benchmark::kMillisecond);
BENCHMARK(fsdp64_to_tp8_all_ranks)->Unit(benchmark::kMillisecond);
BENCHMARK(fsdp64_tp8_to_one_tp16_rank)->Unit(benchmark::kMillisecond);
BENCHMARK(hsdp8x256_to_one_full_receiver)->Unit(benchmark::kMillisecond);
BENCHMARK(one_to_one_full)->Unit(benchmark::kMillisecond);

void rows_of_a_2d_box(benchmark::State& state) {
    const Box source{{128, 0}, {64, 8192}}, sink{{0, 1024}, {8192, 1024}}, common{{128, 1024}, {64, 1024}};
    std::vector<Rows> rows;
    for (auto _ : state) {
        rows.clear();
        append_rows(rows, DType::bf16, source, common, sink, common);
        benchmark::DoNotOptimize(rows.data());
    }
}
BENCHMARK(rows_of_a_2d_box);

}  // namespace
