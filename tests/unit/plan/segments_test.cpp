#include "plan/segments.hpp"

#include <gtest/gtest.h>

namespace wsync {
namespace {

std::vector<Rows> rows(DType dtype, const Box& source_shard, const Box& source, const Box& sink_shard, const Box& sink) {
    std::vector<Rows> out;
    append_rows(out, dtype, source_shard, source, sink_shard, sink);
    return out;
}

TEST(append_rows, flat_where_both_sides_are) {
    const Box shard{{4, 0}, {4, 8}}, box{{5, 0}, {2, 8}}, sink{{0, 0}, {16, 8}};
    EXPECT_EQ(rows(DType::bf16, shard, box, sink, box), (std::vector<Rows>{{16, 32, 80, 32, 32, 1}}));
}

TEST(append_rows, two_dimensions_are_one_strided_copy) {
    const Box shard{{0, 0}, {4, 8}}, box{{1, 2}, {3, 4}}, sink{{0, 2}, {4, 4}};
    EXPECT_EQ(rows(DType::f32, shard, box, sink, box), (std::vector<Rows>{{40, 32, 16, 16, 16, 3}}));
}

TEST(append_rows, one_for_each_outer_index_beyond_that) {
    const Box shard{{0, 0, 0}, {2, 4, 8}}, box{{0, 1, 2}, {2, 2, 4}};
    EXPECT_EQ(rows(DType::u8, shard, box, box, box), (std::vector<Rows>{{10, 8, 0, 4, 4, 2}, {42, 8, 8, 4, 4, 2}}));
}

TEST(append_rows, outer_dimensions_join_where_strides_allow) {
    // Rows of 4 out of 8 in every one of 2 x 3 lines: one strided copy of 6 rows.
    const Box shard{{0, 0, 0}, {2, 3, 8}}, box{{0, 0, 4}, {2, 3, 4}};
    EXPECT_EQ(rows(DType::u8, shard, box, box, box), (std::vector<Rows>{{4, 8, 0, 4, 4, 6}}));
}

TEST(append_rows, a_dimension_of_one_costs_nothing) {
    const Box shard{{0, 0, 0}, {4, 5, 8}}, box{{2, 3, 0}, {1, 1, 8}};
    EXPECT_EQ(rows(DType::u8, shard, box, box, box), (std::vector<Rows>{{104, 8, 0, 8, 8, 1}}));
}

TEST(append_rows, different_places_on_both_sides) {
    const Box source{{0, 0}, {2, 8}}, from{{0, 0}, {2, 8}}, sink{{0, 0}, {9, 8}}, to{{6, 0}, {2, 8}};
    EXPECT_EQ(rows(DType::bf16, source, from, sink, to), (std::vector<Rows>{{0, 32, 96, 32, 32, 1}}));
}

TEST(append_rows, scalars_and_empty_boxes) {
    EXPECT_EQ(rows(DType::f64, {}, {}, {}, {}), (std::vector<Rows>{{0, 8, 0, 8, 8, 1}}));
    const Box empty{{2, 0}, {0, 4}}, shard{{0, 0}, {4, 4}};
    EXPECT_TRUE(rows(DType::f64, shard, empty, shard, empty).empty());
}

TEST(append_rows, sub_byte_elements) {
    const Box shard{{0, 0}, {4, 6}}, box{{1, 2}, {2, 2}};
    EXPECT_EQ(rows(DType::f4, shard, box, box, box), (std::vector<Rows>{{4, 3, 0, 1, 1, 2}}));
    // 3 elements of 4 bits in a row: two rows together are whole bytes.
    const Box odd{{0, 0}, {4, 3}}, half{{2, 0}, {2, 3}};
    EXPECT_EQ(rows(DType::f4, odd, half, half, half), (std::vector<Rows>{{3, 3, 0, 3, 3, 1}}));
}

TEST(append_rows, appends) {
    std::vector<Rows> out{{1, 1, 1, 1, 1, 1}};
    const Box box{{0}, {4}};
    append_rows(out, DType::u8, box, box, box, box);
    EXPECT_EQ(out.size(), 2u);
}

}  // namespace
}  // namespace wsync
