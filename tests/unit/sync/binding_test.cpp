// Binding a plan: what it refuses, since a peer's placement may be anything, and what it says about whole and cut boxes.
#include "sync/binding.hpp"

#include "result_matchers.hpp"

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

Manifest manifest() { return Manifest::make({{"a", DType::f32, {4, 6}}, {"b", DType::u8, {10}}}).value(); }

struct Sides {
    Layout source = Layout::make(manifest(), 2, {{0, 0, {{0, 0}, {2, 6}}}, {1, 0, {{2, 0}, {2, 6}}}, {0, 1, {{0}, {10}}}}, Coverage::full).value();
    Layout sink = Layout::replicated(manifest()).value();
    std::vector<Placement> places{pack(source, 0).value(), pack(source, 1).value()};
    Placement place = pack(sink, 0).value();
    Plan plan = make_plan(source, sink).value();
    [[nodiscard]] Result<Binding> bind() const { return bind_plan(plan, source, places, sink, 0, place); }
};

TEST(Binding, WholeShardsHaveThePublishersOwnBlocks) {
    const auto binding = Sides{}.bind().value();
    ASSERT_EQ(binding.blocks.size(), 3u);
    EXPECT_EQ(binding.bytes, 4u * 6 * 4 + 10);
    EXPECT_EQ(binding.source_ranks, (std::vector<std::uint32_t>{0, 1}));
    for (const auto& block : binding.blocks) EXPECT_NE(block.default_digest, BoundBlock::kCustom);
}

TEST(Binding, CutShardsNeedDigestsOfTheirOwn) {
    Sides sides;
    sides.sink = Layout::make(manifest(), 1, {{0, 0, {{0, 0}, {4, 3}}}, {0, 1, {{0}, {10}}}}, Coverage::partial).value();
    sides.place = pack(sides.sink, 0).value();
    sides.plan = make_plan(sides.source, sides.sink).value();
    const auto binding = sides.bind().value();
    for (const auto& block : binding.blocks) {
        const bool cut = sides.sink.shards()[block.sink_shard].tensor == 0;
        EXPECT_EQ(block.default_digest == BoundBlock::kCustom, cut);
        if (cut) {
            EXPECT_EQ(binding.rows[block.first_rows].source_stride, 24u);
            EXPECT_EQ(binding.rows[block.first_rows].sink_stride, 12u);
        }
    }
}

TEST(Binding, RefusesASourcePlacementThatDoesNotFit) {
    for (const int change : {0, 1, 2, 3, 4}) {
        Sides sides;
        if (change == 0) sides.places.pop_back();                               // a rank without one
        if (change == 1) sides.places[0].places.pop_back();                     // a shard without a place
        if (change == 2) sides.places[0].region_bytes[0] -= 1;                  // one byte short
        if (change == 3) sides.places[0].places[1].region = 7;                  // a region that is not there
        if (change == 4) sides.places[1].places[0].offset = ~std::uint64_t{0};  // far outside
        EXPECT_THAT(sides.bind(), HasCode(Code::corrupt)) << change;
    }
}

TEST(Binding, RefusesSlotsThatAreMissingTooSmallOrAlias) {
    Sides missing;
    missing.place.places.pop_back();
    EXPECT_THAT(missing.bind(), HasError(Code::invalid_argument, "1 places for the 2 shards"));
    Sides small;
    small.place.region_bytes[0] -= 1;
    EXPECT_THAT(small.bind(), HasError(Code::invalid_argument, "is not inside region 0"));
    Sides aliased;
    aliased.place.places[1].offset = 95;  // into the last byte of "a"
    EXPECT_THAT(aliased.bind(), HasError(Code::invalid_argument, "overlap in region 0 at offset 95"));
    Sides touching;
    touching.place.places[1].offset = 96;
    EXPECT_OK(touching.bind());
}

TEST(Binding, RefusesARankThatTheSinkLacks) {
    const Sides sides;
    EXPECT_THAT(bind_plan(sides.plan, sides.source, sides.places, sides.sink, 1, sides.place), HasError(Code::invalid_argument, "rank 1 is not in a layout of 1"));
}

// A plan is a value and may be tied to the wrong layouts.
TEST(Binding, RefusesAPlanOfOtherLayouts) {
    Sides sides;
    const auto smaller = Manifest::make({{"a", DType::f32, {2, 6}}, {"b", DType::u8, {10}}}).value();
    sides.source = Layout::replicated(smaller).value();
    sides.places = {pack(sides.source, 0).value()};
    EXPECT_THAT(sides.bind(), HasError(Code::invalid_argument, "made for"));
    Sides typed;
    typed.sink = Layout::replicated(Manifest::make({{"a", DType::i32, {4, 6}}, {"b", DType::u8, {10}}}).value()).value();
    EXPECT_THAT(typed.bind(), HasError(Code::invalid_argument, "made for other layouts"));
}

}  // namespace
}  // namespace wsync
