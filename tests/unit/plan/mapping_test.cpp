#include "result_matchers.hpp"
#include "wsync/plan/plan.hpp"

namespace wsync {
namespace {

using testing::HasError;

// q, k and v of a small attention, and the fused tensor with a padding row behind it.
struct Fused {
    Manifest source_manifest = Manifest::make({{"q", DType::bf16, {4, 8}}, {"k", DType::bf16, {2, 8}}, {"v", DType::bf16, {2, 8}}}).value();
    Manifest sink_manifest = Manifest::make({{"qkv", DType::bf16, {9, 8}}}).value();
    Layout source = Layout::replicated(source_manifest).value();
    Layout sink = Layout::replicated(sink_manifest).value();
    Mapping mapping{{
        {"qkv", {{0, 0}, {4, 8}}, "q", {{0, 0}, {4, 8}}, {}},
        {"qkv", {{4, 0}, {2, 8}}, "k", {{0, 0}, {2, 8}}, {}},
        {"qkv", {{6, 0}, {2, 8}}, "v", {{0, 0}, {2, 8}}, {}},
        {"qkv", {{8, 0}, {1, 8}}, "", {}, std::byte{0x7f}},
    }};
};

TEST(mapping, fuses_and_pads) {
    const Fused f;
    const Plan plan = make_plan(f.source, f.sink, f.mapping).value();
    ASSERT_EQ(plan.copies().size(), 3u);
    EXPECT_EQ(plan.copies()[1], (Copy{1, 0, {{0, 0}, {2, 8}}, {{4, 0}, {2, 8}}}));
    ASSERT_EQ(plan.fills().size(), 1u);
    EXPECT_EQ(plan.fills()[0], (Fill{0, {{8, 0}, {1, 8}}, std::byte{0x7f}}));
    EXPECT_EQ(plan.copied_bytes(), 128u);
    EXPECT_EQ(plan.filled_bytes(), 16u);
    EXPECT_EQ(plan.bytes_by_sink()[0], 128u) << "fills are not received";
}

TEST(mapping, a_tensor_parallel_rank_of_a_fused_tensor) {
    const Fused f;
    // This rank's slice of the fused tensor: rows 3 to 7, columns 2 to 6.
    const Layout sink = Layout::make(f.sink_manifest, 1, {{0, 0, {{3, 2}, {4, 4}}}}, Coverage::partial).value();
    const Plan plan = make_plan(f.source, sink, f.mapping).value();
    const std::vector<Copy> expected{
        {0, 0, {{3, 2}, {1, 4}}, {{3, 2}, {1, 4}}},
        {1, 0, {{0, 2}, {2, 4}}, {{4, 2}, {2, 4}}},
        {2, 0, {{0, 2}, {1, 4}}, {{6, 2}, {1, 4}}},
    };
    EXPECT_EQ(plan.copies(), expected);
    EXPECT_TRUE(plan.fills().empty());
}

TEST(mapping, a_fill_changes_the_digest) {
    Fused f;
    const Plan before = make_plan(f.source, f.sink, f.mapping).value();
    f.mapping.boxes[3].value = std::byte{0};
    EXPECT_NE(before.digest(), make_plan(f.source, f.sink, f.mapping).value().digest());
}

TEST(mapping, one_source_box_may_go_to_two_places) {
    Fused f;
    f.mapping.boxes[2].source = "k";
    const Plan plan = make_plan(f.source, f.sink, f.mapping).value();
    EXPECT_EQ(plan.copies()[2].source_shard, plan.copies()[1].source_shard);
}

TEST(mapping, empty_boxes_are_dropped) {
    Fused f;
    f.mapping.boxes.push_back({"qkv", {{9, 0}, {0, 8}}, "v", {{2, 0}, {0, 8}}, {}});
    EXPECT_OK(make_plan(f.source, f.sink, f.mapping));
}

TEST(mapping, errors_name_the_tensor_and_the_box) {
    const auto with = [](auto change) {
        Fused f;
        change(f);
        return make_plan(f.source, f.sink, f.mapping);
    };
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes[0].sink = "qk"; }), HasError(Code::not_found, "tensor \"qk\", which the sink does not have"));
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes[0].source = "query"; }),
                HasError(Code::not_found, "\"qkv\" from \"query\", which the source does not have"));
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes[1].source_box.size[0] = 1; }),
                HasError(Code::invalid_argument, "puts box [0:1, 0:8] of \"k\" into box [4:6, 0:8] of \"qkv\": their sizes differ"));
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes[1].source_box = {{0}, {2}}; }), HasError(Code::invalid_argument, "not inside tensor \"k\""));
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes[1].source_box.offset[0] = 1; }),
                HasError(Code::invalid_argument, "source box [1:3, 0:8] is not inside tensor \"k\" of shape [2, 8]"));
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes[3].sink_box.size[0] = ~std::uint64_t{0}; }),
                HasError(Code::invalid_argument, "is not inside tensor \"qkv\""));
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes[3].sink_box = {{7, 0}, {2, 8}}; }),
                HasError(Code::invalid_argument, "writes tensor \"qkv\" twice: sink boxes [6:8, 0:8] and [7:9, 0:8] overlap"));
    EXPECT_THAT(with([](Fused& f) { f.mapping.boxes.erase(f.mapping.boxes.begin() + 1); }),
                HasError(Code::invalid_argument, "says nothing about box [4:6, 0:8] of tensor \"qkv\", which sink rank 0 wants"));
}

TEST(mapping, a_part_that_is_not_wanted_need_not_be_mapped) {
    Fused f;
    f.mapping.boxes.resize(1);
    const Layout sink = Layout::make(f.sink_manifest, 1, {{0, 0, {{0, 0}, {4, 8}}}}, Coverage::partial).value();
    EXPECT_OK(make_plan(f.source, sink, f.mapping));
}

TEST(mapping, types_must_be_equal) {
    const Layout source = Layout::replicated(Manifest::make({{"a", DType::f32, {4}}}).value()).value();
    const Layout sink = Layout::replicated(Manifest::make({{"b", DType::bf16, {4}}}).value()).value();
    EXPECT_THAT(make_plan(source, sink, {{{"b", {{0}, {4}}, "a", {{0}, {4}}, {}}}}), HasError(Code::invalid_argument, "cast first"));
}

TEST(mapping, sub_byte_boxes_end_on_whole_bytes) {
    const Manifest m = Manifest::make({{"w", DType::f4, {8}}}).value();
    const Layout layout = Layout::replicated(m).value();
    EXPECT_THAT(make_plan(layout, layout, {{{"w", {{0}, {3}}, "w", {{0}, {3}}, {}}}}), HasError(Code::invalid_argument, "inside a byte"));
    EXPECT_OK(make_plan(layout, layout, {{{"w", {{0}, {4}}, "w", {{4}, {4}}, {}}, {"w", {{4}, {4}}, "", {}, {}}}}));
}

TEST(mapping, boxes_too_entangled_to_prove_are_refused_and_do_not_hang) {
    // A long thin pinwheel: bars that cross each other's extents in both dimensions, so that no straight cut parts them.
    constexpr std::uint64_t kSide = 20'000;
    const Manifest m = Manifest::make({{"w", DType::u8, {kSide, kSide}}}).value();
    const Layout layout = Layout::replicated(m).value();
    Mapping mapping;
    for (std::uint64_t i = 0; i + 2 < kSide; i += 2) {
        mapping.boxes.push_back({"w", {{i, i}, {1, kSide - i - 1}}, "", {}, {}});
        mapping.boxes.push_back({"w", {{i + 1, i}, {kSide - i - 2, 1}}, "", {}, {}});
    }
    const auto result = make_plan(layout, layout, mapping);
    ASSERT_FALSE(result.has_value());
    EXPECT_TRUE(result.error().code == Code::unsupported || result.error().code == Code::invalid_argument) << result.error().to_string();
}

}  // namespace
}  // namespace wsync
