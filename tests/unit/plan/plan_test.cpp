#include "wsync/plan/plan.hpp"

#include "result_matchers.hpp"
#include "wsync/model/mesh.hpp"

#include <numeric>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

Manifest one(Dims shape, DType dtype = DType::bf16) { return Manifest::make({{"w", dtype, shape}}).value(); }

Layout full(const Manifest& manifest, std::uint32_t ranks, std::vector<Shard> shards) {
    return Layout::make(manifest, ranks, std::move(shards), Coverage::full).value();
}
Layout partial(const Manifest& manifest, std::uint32_t ranks, std::vector<Shard> shards) {
    return Layout::make(manifest, ranks, std::move(shards), Coverage::partial).value();
}

TEST(make_plan, rows_to_columns_meet_in_a_grid) {
    const Manifest m = one({4, 4});
    const Layout source = full(m, 2, {{0, 0, {{0, 0}, {2, 4}}}, {1, 0, {{2, 0}, {2, 4}}}});
    const Layout sink = partial(m, 2, {{0, 0, {{0, 0}, {4, 2}}}, {1, 0, {{0, 2}, {4, 2}}}});
    const Plan plan = make_plan(source, sink).value();
    const std::vector<Copy> expected{
        {0, 0, {{0, 0}, {2, 2}}, {{0, 0}, {2, 2}}},
        {1, 0, {{2, 0}, {2, 2}}, {{2, 0}, {2, 2}}},
        {0, 1, {{0, 2}, {2, 2}}, {{0, 2}, {2, 2}}},
        {1, 1, {{2, 2}, {2, 2}}, {{2, 2}, {2, 2}}},
    };
    EXPECT_EQ(plan.copies(), expected);
    EXPECT_EQ(plan.copied_bytes(), 32u);
    EXPECT_EQ(plan.bytes_by_source(), (std::vector<std::uint64_t>{16, 16}));
    EXPECT_EQ(plan.bytes_by_sink(), (std::vector<std::uint64_t>{16, 16}));
    EXPECT_TRUE(plan.fills().empty());
}

TEST(make_plan, a_long_box_beside_many_short_ones_is_found) {
    // Column 0 is one box, column 1 is cut into rows: every row meets a box that begins far before it.
    const Manifest m = one({64, 2});
    std::vector<Shard> shards{{0, 0, {{0, 0}, {64, 1}}}};
    for (std::uint32_t row = 0; row < 64; ++row) shards.push_back({1 + row, 0, {{row, 1}, {1, 1}}});
    const Layout source = full(m, 65, shards);
    for (std::uint64_t row = 0; row < 64; ++row) {
        const Plan plan = make_plan(source, partial(m, 1, {{0, 0, {{row, 0}, {1, 2}}}})).value();
        ASSERT_EQ(plan.copies().size(), 2u);
        EXPECT_EQ(plan.copies()[0].source_box, (Box{{row, 0}, {1, 1}}));
        EXPECT_EQ(plan.copies()[1].source_shard, 1 + row);
    }
}

TEST(make_plan, equal_layouts_copy_each_shard_once) {
    const Manifest m = one({10, 3});
    const Layout layout = full(m, 3, {{0, 0, {{0, 0}, {4, 3}}}, {1, 0, {{4, 0}, {4, 3}}}, {2, 0, {{8, 0}, {2, 3}}}});
    const Plan plan = make_plan(layout, layout).value();
    ASSERT_EQ(plan.copies().size(), 3u);
    for (std::uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(plan.copies()[i].source_shard, i);
        EXPECT_EQ(plan.copies()[i].sink_shard, i);
    }
}

TEST(make_plan, scalars_and_empty_tensors) {
    const Manifest m = Manifest::make({{"scalar", DType::f32, {}}, {"empty", DType::f32, {0, 5}}}).value();
    const Layout layout = Layout::replicated(m).value();
    const Plan plan = make_plan(layout, layout).value();
    ASSERT_EQ(plan.copies().size(), 1u);
    EXPECT_EQ(plan.copied_bytes(), 4u);
}

TEST(make_plan, nothing_wanted_is_an_empty_plan) {
    const Manifest m = one({4});
    const Layout source = Layout::replicated(m).value();
    const Plan plan = make_plan(source, partial(m, 2, {})).value();
    EXPECT_TRUE(plan.copies().empty());
    EXPECT_EQ(plan.bytes_by_sink(), (std::vector<std::uint64_t>{0, 0}));
    const Manifest none = Manifest::make({}).value();
    EXPECT_OK(make_plan(Layout::replicated(none).value(), Layout::replicated(none).value()));
}

TEST(make_plan, one_sink_rank_alone) {
    const Manifest m = one({4, 4});
    const Layout source = Layout::replicated(m).value();
    const Layout sink = partial(m, 2, {{0, 0, {{0, 0}, {4, 2}}}, {1, 0, {{0, 2}, {4, 2}}}});
    const Plan plan = make_plan(source, sink, {}, {.sink_ranks = {1}}).value();
    ASSERT_EQ(plan.copies().size(), 1u);
    EXPECT_EQ(plan.copies()[0].sink_shard, 1u);
    EXPECT_EQ(plan.bytes_by_sink(), (std::vector<std::uint64_t>{0, 16}));
    EXPECT_THAT(make_plan(source, sink, {}, {.sink_ranks = {2}}), HasError(Code::invalid_argument, "sink rank 2, the sink has 2 ranks"));
    EXPECT_THAT(make_plan(source, sink, {}, {.sink_ranks = {1, 1}}), HasError(Code::invalid_argument, "sink rank 1 twice"));
}

TEST(make_plan, layers_complete_one_after_the_other) {
    const Manifest source_m = Manifest::make({{"b", DType::u8, {8}}, {"a", DType::u8, {8}}}).value();
    const Manifest sink_m = Manifest::make({{"a", DType::u8, {8}}, {"b", DType::u8, {8}}}).value();
    MeshOptions mesh;
    mesh.fully_sharded = 4;
    const Layout source = make_mesh_layout(source_m, mesh).value();
    const Layout sink = Layout::replicated(sink_m, 2).value();
    const Plan plan = make_plan(source, sink).value();
    ASSERT_EQ(plan.copies().size(), 16u);
    for (std::size_t i = 0; i < 16; ++i) {
        const Copy& copy = plan.copies()[i];
        const Shard& shard = sink.shards()[copy.sink_shard];
        EXPECT_EQ(shard.tensor, i / 8);
        EXPECT_EQ(shard.rank, i / 4 % 2);
        EXPECT_EQ(copy.sink_box.offset[0], i % 4 * 2);
    }
}

TEST(make_plan, replicas_share_by_bytes_and_the_seed_turns_the_choice) {
    const Manifest m = Manifest::make({{"a", DType::u8, {100}}, {"b", DType::u8, {60}}, {"c", DType::u8, {50}}}).value();
    const Layout source = Layout::replicated(m, 2).value(), sink = Layout::replicated(m).value();
    const Plan plan = make_plan(source, sink).value();
    EXPECT_EQ(plan.bytes_by_source(), (std::vector<std::uint64_t>{100, 110}));
    const Plan turned = make_plan(source, sink, {}, {.replica_seed = 1}).value();
    EXPECT_EQ(turned.bytes_by_source(), (std::vector<std::uint64_t>{110, 100}));
    EXPECT_NE(plan, turned);
    EXPECT_NE(plan.digest(), turned.digest());
}

TEST(make_plan, what_only_one_rank_holds_counts_in_the_balance) {
    const Manifest m = Manifest::make({{"alone", DType::u8, {100}}, {"both", DType::u8, {60}}}).value();
    const Layout source = full(m, 2, {{0, 0, {{0}, {100}}}, {0, 1, {{0}, {60}}}, {1, 1, {{0}, {60}}}});
    const Plan plan = make_plan(source, Layout::replicated(m).value()).value();
    EXPECT_EQ(plan.bytes_by_source(), (std::vector<std::uint64_t>{100, 60}));
}

TEST(make_plan, receivers_that_plan_alone_spread_over_replicas) {
    const Manifest m = one({1 << 10});
    const Layout source = Layout::replicated(m, 4).value(), sink = Layout::replicated(m, 4).value();
    std::vector<std::uint64_t> load(4, 0);
    for (std::uint32_t rank = 0; rank < 4; ++rank) {
        const Plan plan = make_plan(source, sink, {}, {.sink_ranks = {rank}, .replica_seed = rank}).value();
        for (std::size_t r = 0; r < 4; ++r) load[r] += plan.bytes_by_source()[r];
    }
    EXPECT_EQ(load, std::vector<std::uint64_t>(4, 2048));
}

TEST(make_plan, errors_by_name) {
    const Layout source = Layout::replicated(one({4, 4})).value();
    const auto to = [&](const Manifest& m) { return make_plan(source, Layout::replicated(m).value()); };
    EXPECT_THAT(to(Manifest::make({{"x", DType::bf16, {4, 4}}}).value()), HasError(Code::not_found, "no tensor \"x\""));
    EXPECT_THAT(to(one({4, 4}, DType::f32)), HasError(Code::invalid_argument, "\"w\" is F32 at the sink, \"w\" is BF16 at the source"));
    EXPECT_THAT(to(one({16})), HasError(Code::invalid_argument, "shape [16] at the sink and [4, 4] at the source"));
}

TEST(make_plan, a_partial_source_names_what_is_missing) {
    const Manifest m = one({4, 4});
    const Layout source = partial(m, 2, {{0, 0, {{0, 0}, {2, 4}}}, {1, 0, {{3, 0}, {1, 4}}}});
    const auto missing = make_plan(source, Layout::replicated(m).value());
    EXPECT_THAT(missing, HasError(Code::invalid_argument, "tensor \"w\": no source rank holds box [2:3, 0:4], which sink rank 0 wants"));
    // What is not wanted need not be there.
    EXPECT_OK(make_plan(source, partial(m, 1, {{0, 0, {{0, 1}, {2, 2}}}})));
}

TEST(make_plan, a_partial_source_that_overlaps_is_refused_where_it_counts) {
    const Manifest m = one({4, 4});
    const Layout source = partial(m, 2, {{0, 0, {{0, 0}, {3, 4}}}, {1, 0, {{2, 0}, {2, 4}}}});
    EXPECT_THAT(make_plan(source, Layout::replicated(m).value()),
                HasError(Code::invalid_argument, "box [2:3, 0:4] of sink rank 0 would be written twice, from source ranks 0 and 1"));
    EXPECT_OK(make_plan(source, partial(m, 1, {{0, 0, {{0, 0}, {2, 4}}}})));
    // As many elements as are wanted, but one twice and one never.
    const Layout gap = partial(one({4}), 3, {{0, 0, {{0}, {2}}}, {1, 0, {{1}, {2}}}});
    const auto result = make_plan(gap, Layout::replicated(one({4})).value());
    EXPECT_THAT(result, HasError(Code::invalid_argument, "would be written twice"));
}

TEST(make_plan, sub_byte_boxes_that_meet_inside_a_byte) {
    // Rows of 6 four-bit elements: whole bytes; both cuts are legal alone.
    const Manifest m = one({2, 6}, DType::f4);
    const Layout source = full(m, 2, {{0, 0, {{0, 0}, {2, 2}}}, {1, 0, {{0, 2}, {2, 4}}}});
    const Layout sink = partial(m, 1, {{0, 0, {{0, 0}, {2, 4}}}});
    const Plan plan = make_plan(source, sink).value();
    EXPECT_EQ(plan.copied_bytes(), 4u);
    // A mapping that shifts by an odd number of elements can't be carried out.
    Mapping shift;
    shift.boxes = {{"w", {{0, 0}, {2, 4}}, "w", {{0, 1}, {2, 4}}, {}}};
    EXPECT_THAT(make_plan(source, sink, shift), HasError(Code::invalid_argument, "inside a byte"));
}

TEST(make_plan, summary_names_the_figures) {
    const Manifest m = one({1024, 1024});
    MeshOptions mesh;
    mesh.fully_sharded = 2;
    const Layout source = make_mesh_layout(m, mesh).value(), sink = Layout::replicated(m).value();
    const Plan plan = make_plan(source, sink).value();
    const std::string text = plan.summary(source, sink);
    EXPECT_THAT(text, ::testing::HasSubstr(plan.digest().short_hex()));
    EXPECT_THAT(text, ::testing::HasSubstr("2 copies (2.10 MB) and 0 fills (0 B)"));
    EXPECT_THAT(text, ::testing::HasSubstr("2 of 2 source ranks send, 1 of 1 sink ranks receive"));
    EXPECT_THAT(text, ::testing::HasSubstr("rank 1 1.05 MB"));
    mesh.fully_sharded = 64;
    const Layout wide = make_mesh_layout(m, mesh).value();
    EXPECT_THAT(make_plan(wide, sink).value().summary(wide, sink), ::testing::HasSubstr("64 ranks, least 32.77 KB (rank 0)"));
}

TEST(make_plan, thousands_of_ranks) {
    std::vector<TensorSpec> tensors;
    for (int i = 0; i < 40; ++i) tensors.push_back({"layers." + std::to_string(i) + ".mlp.down_proj.weight", DType::bf16, {4096, 64}});
    const Manifest m = Manifest::make(tensors).value();
    MeshOptions fsdp, tp;
    fsdp.fully_sharded = 2048;
    tp.tensor_parallel = 8;
    const Layout source = make_mesh_layout(m, fsdp).value(), sink = make_mesh_layout(m, tp).value();
    const Plan plan = make_plan(source, sink, {}, {.sink_ranks = {7}}).value();
    EXPECT_EQ(plan.copies().size(), 40u * 2048);
    EXPECT_EQ(plan.copied_bytes(), sink.bytes_of(7));
    EXPECT_EQ(std::accumulate(plan.bytes_by_source().begin(), plan.bytes_by_source().end(), std::uint64_t{0}), sink.bytes_of(7));
}

}  // namespace
}  // namespace wsync
