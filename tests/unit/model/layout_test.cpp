#include "wsync/model/layout.hpp"

#include "model/disjoint.hpp"
#include "result_matchers.hpp"
#include "wsync/model/placement.hpp"

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

Manifest one(Dims shape, DType dtype = DType::bf16) { return Manifest::make({{"w", dtype, shape}}).value(); }

TEST(Box, Arithmetic) {
    const Box box{{2, 3}, {4, 5}};
    EXPECT_EQ(box.elements(), 20U);
    EXPECT_EQ(box.bytes(DType::bf16), 40U);
    EXPECT_EQ(box.bytes(DType::f4), 10U);
    EXPECT_EQ(box.to_string(), "[2:6, 3:8]");
    EXPECT_TRUE(box.inside({6, 8}));
    EXPECT_FALSE(box.inside({6, 7}));
    EXPECT_FALSE(box.inside({6, 8, 1}));
    EXPECT_FALSE((Box{{~std::uint64_t{0}}, {2}}).inside({1}));
    EXPECT_TRUE(box.contains({{3, 3}, {1, 5}}));
    EXPECT_FALSE(box.contains({{3, 3}, {4, 5}}));
    EXPECT_EQ(intersect(box, {{5, 0}, {9, 4}}), (Box{{5, 3}, {1, 1}}));
    EXPECT_EQ(intersect(box, {{6, 0}, {9, 9}}), std::nullopt);
    EXPECT_EQ(intersect(Box{}, Box{}), Box{});
    EXPECT_EQ(Box{}.elements(), 1U);
}

TEST(Box, CutOnBytes) {
    EXPECT_TRUE(cut_on_bytes({{0, 1}, {2, 1}}, {4, 3}, DType::u8));
    EXPECT_TRUE(cut_on_bytes({{0, 2}, {3, 4}}, {3, 8}, DType::f4));
    EXPECT_FALSE(cut_on_bytes({{0, 1}, {3, 4}}, {3, 8}, DType::f4));
    EXPECT_FALSE(cut_on_bytes({{0, 0}, {3, 3}}, {3, 8}, DType::f4));
    EXPECT_FALSE(cut_on_bytes({{0, 0}, {2, 2}}, {2, 5}, DType::f4)) << "the second row begins inside a byte";
    EXPECT_TRUE(cut_on_bytes({{0, 0}, {2, 5}}, {4, 5}, DType::f4)) << "whole rows are one run";
    EXPECT_FALSE(cut_on_bytes({{1, 0}, {2, 5}}, {4, 5}, DType::f4));
    EXPECT_TRUE(cut_on_bytes({{1, 1}, {1, 4}}, {4, 5}, DType::f4)) << "one row that begins on an even element";
    EXPECT_TRUE(cut_on_bytes({{4}, {8}}, {16}, DType::f6_e3m2));
    EXPECT_FALSE(cut_on_bytes({{2}, {8}}, {16}, DType::f6_e3m2));
}

TEST(Layout, OrdersShardsAndFindsThem) {
    auto layout = Layout::make(one({4, 2}), 3, {{2, 0, {{2, 0}, {2, 2}}}, {0, 0, {{1, 0}, {1, 2}}}, {0, 0, {{0, 0}, {1, 2}}}, {1, 0, {{4, 0}, {0, 2}}}},
                               Coverage::full);
    ASSERT_OK(layout);
    ASSERT_EQ(layout->shards().size(), 3U) << "the empty one is dropped";
    EXPECT_EQ(layout->shards()[0].box.offset[0], 0U);
    EXPECT_EQ(layout->shards_of(0).size(), 2U);
    EXPECT_EQ(layout->shards_of(1).size(), 0U);
    EXPECT_EQ(layout->shards_of(2).size(), 1U);
    EXPECT_EQ(layout->shards_of(7).size(), 0U);
    EXPECT_EQ(layout->first_shard_of(2), 2U);
    EXPECT_EQ(layout->bytes_of(0), 8U);
    EXPECT_EQ(layout->bytes_of(1), 0U);
}

TEST(Layout, FullNeedsEveryElement) {
    EXPECT_THAT(Layout::make(one({4, 2}), 2, {{0, 0, {{0, 0}, {2, 2}}}, {1, 0, {{3, 0}, {1, 2}}}}, Coverage::full),
                HasError(Code::invalid_argument, "6 of its 8"));
    EXPECT_THAT(Layout::make(one({4, 2}), 1, {}, Coverage::full), HasError(Code::invalid_argument, "\"w\""));
    EXPECT_OK(Layout::make(one({4, 2}), 1, {}, Coverage::partial));
    EXPECT_OK(Layout::make(one({0, 2}), 1, {}, Coverage::full));
    EXPECT_OK(Layout::make(one({}), 2, {{0, 0, Box{}}, {1, 0, Box{}}}, Coverage::full));
    EXPECT_THAT(Layout::make(one({}), 2, {}, Coverage::full), HasCode(Code::invalid_argument));
}

TEST(Layout, ReplicasAreEqualBoxes) {
    EXPECT_OK(Layout::make(one({4}), 4, {{0, 0, {{0}, {2}}}, {1, 0, {{2}, {2}}}, {2, 0, {{0}, {2}}}, {3, 0, {{2}, {2}}}}, Coverage::full));
    // The union is the tensor, but two ranks hold some elements in different boxes.
    EXPECT_THAT(Layout::make(one({4}), 2, {{0, 0, {{0}, {3}}}, {1, 0, {{1}, {3}}}}, Coverage::full), HasError(Code::invalid_argument, "overlaps"));
    EXPECT_THAT(Layout::make(one({4}), 2, {{0, 0, {{0}, {4}}}, {1, 0, {{0}, {2}}}}, Coverage::full), HasError(Code::invalid_argument, "overlaps"));
    EXPECT_THAT(Layout::make(one({4}), 1, {{0, 0, {{0}, {4}}}, {0, 0, {{0}, {4}}}}, Coverage::full), HasError(Code::invalid_argument, "overlaps"));
}

TEST(Layout, PartialRefusesOverlapOfOneRankOnly) {
    EXPECT_OK(Layout::make(one({4}), 2, {{0, 0, {{0}, {3}}}, {1, 0, {{1}, {2}}}}, Coverage::partial));
    EXPECT_THAT(Layout::make(one({4}), 2, {{1, 0, {{0}, {3}}}, {1, 0, {{2}, {2}}}}, Coverage::partial), HasError(Code::invalid_argument, "rank 1"));
}

TEST(Layout, ProvesShapesWithoutAStraightCut) {
    // A pinwheel: five boxes, no line through them.
    std::vector<Shard> wheel = {{0, 0, {{0, 0}, {1, 2}}}, {1, 0, {{0, 2}, {2, 1}}}, {2, 0, {{2, 1}, {1, 2}}}, {3, 0, {{1, 0}, {2, 1}}}, {4, 0, {{1, 1}, {1, 1}}}};
    EXPECT_OK(Layout::make(one({3, 3}), 5, wheel, Coverage::full));
    wheel[4].box = {{0, 1}, {2, 1}};
    EXPECT_THAT(Layout::make(one({3, 3}), 5, wheel, Coverage::full), HasError(Code::invalid_argument, "overlaps"));
}

TEST(Layout, GivesUpOnATangleInsteadOfHanging) {
    // Bars along one dimension whose beginnings and ends interleave: every pair meets in both projections' chains.
    std::vector<Box> boxes;
    std::vector<const Box*> pointers;
    constexpr std::uint64_t n = 3000;
    for (std::uint64_t i = 0; i < n; ++i) boxes.push_back({{i, i * 2}, {n + 1 - i, 2}});
    for (std::uint64_t i = 0; i < n; ++i) boxes.push_back({{i, 2 * n + i}, {n + 1, 1}});
    boxes.push_back({{0, 0}, {1, 1}});
    for (const Box& box : boxes) pointers.push_back(&box);
    std::uint64_t budget = 1000;
    EXPECT_TRUE(prove_disjoint(pointers, budget).given_up);
    budget = 1'000'000'000;
    const auto proof = prove_disjoint(pointers, budget);
    ASSERT_TRUE(proof.overlap.has_value());
    EXPECT_TRUE(intersect(*pointers[proof.overlap->first], *pointers[proof.overlap->second]).has_value());
}

TEST(Layout, RefusesBadShards) {
    EXPECT_THAT(Layout::make(one({4}), 1, {{1, 0, {{0}, {4}}}}, Coverage::full), HasError(Code::invalid_argument, "rank 1"));
    EXPECT_THAT(Layout::make(one({4}), 1, {{0, 1, {{0}, {4}}}}, Coverage::full), HasError(Code::invalid_argument, "tensor 1"));
    EXPECT_THAT(Layout::make(one({4}), 1, {{0, 0, {{1}, {4}}}}, Coverage::full), HasError(Code::invalid_argument, "not inside"));
    EXPECT_THAT(Layout::make(one({4}), 1, {{0, 0, {{0, 0}, {4, 1}}}}, Coverage::full), HasError(Code::invalid_argument, "not inside"));
    EXPECT_THAT(Layout::make(one({4}, DType::f4), 2, {{0, 0, {{0}, {1}}}, {1, 0, {{1}, {3}}}}, Coverage::full), HasError(Code::invalid_argument, "inside a byte"));
    EXPECT_THAT(Layout::make(one({4}), 0, {}, Coverage::partial), HasCode(Code::invalid_argument));
    EXPECT_THAT(Layout::make(one({4}), ~0U, {}, Coverage::partial), HasCode(Code::invalid_argument));
}

TEST(Layout, DigestSeesShardsAndCoverage) {
    const auto whole = Layout::replicated(one({4})).value();
    const auto cut = Layout::make(one({4}), 1, {{0, 0, {{0}, {2}}}, {0, 0, {{2}, {2}}}}, Coverage::full).value();
    const auto sink = Layout::make(one({4}), 1, {{0, 0, {{0}, {4}}}}, Coverage::partial).value();
    EXPECT_EQ(whole, Layout::make(one({4}), 1, {{0, 0, {{0}, {4}}}}, Coverage::full).value());
    EXPECT_NE(whole.digest(), cut.digest());
    EXPECT_NE(whole.digest(), sink.digest());
    EXPECT_NE(whole.digest(), Layout::replicated(one({4}), 2).value().digest());
    EXPECT_NE(whole.digest(), Layout::replicated(one({4}, DType::f16)).value().digest());
}

TEST(Placement, PacksAligned) {
    const auto manifest = Manifest::make({{"a", DType::u8, {3}}, {"b", DType::f32, {5}}, {"empty", DType::f32, {0}}, {"c", DType::u8, {1}}}).value();
    const auto layout = Layout::replicated(manifest).value();
    const auto placement = pack(layout, 0).value();
    ASSERT_EQ(placement.places.size(), 3U);
    EXPECT_EQ(placement.places[1], (ShardPlace{0, 64}));
    EXPECT_EQ(placement.places[2], (ShardPlace{0, 128}));
    EXPECT_EQ(placement.region_bytes, std::vector<std::uint64_t>{129});
    EXPECT_EQ(placement.bytes(), 129U);
    EXPECT_OK(check(layout, 0, placement));
    EXPECT_EQ(pack(layout, 0, 1).value().bytes(), 24U);
    EXPECT_THAT(pack(layout, 0, 3), HasError(Code::invalid_argument, "power of two"));
    EXPECT_THAT(pack(layout, 0, std::uint64_t{1} << 63), HasCode(Code::invalid_argument));
    EXPECT_THAT(pack(layout, 1), HasError(Code::invalid_argument, "rank 1"));
}

TEST(Placement, CheckFindsWhatIsWrong) {
    const auto layout = Layout::replicated(Manifest::make({{"a", DType::u8, {8}}, {"b", DType::u8, {8}}}).value()).value();
    EXPECT_OK(check(layout, 0, {{{1, 4}, {0, 0}}, {8, 12}}));
    EXPECT_THAT(check(layout, 0, {{{0, 0}}, {8}}), HasError(Code::invalid_argument, "2 shards"));
    EXPECT_THAT(check(layout, 0, {{{0, 0}, {1, 0}}, {16}}), HasError(Code::invalid_argument, "region 1"));
    EXPECT_THAT(check(layout, 0, {{{0, 0}, {0, 9}}, {16}}), HasError(Code::invalid_argument, "\"b\""));
    EXPECT_THAT(check(layout, 0, {{{0, 0}, {0, ~std::uint64_t{0}}}, {16}}), HasError(Code::invalid_argument, "not inside"));
    EXPECT_THAT(check(layout, 0, {{{0, 8}, {0, 1}}, {16}}), HasError(Code::invalid_argument, "overlap"));
    EXPECT_THAT(check(layout, 0, {{{0, 0}, {0, 8}}, {16, ~std::uint64_t{0}}}), HasCode(Code::invalid_argument));
}

}  // namespace
}  // namespace wsync
