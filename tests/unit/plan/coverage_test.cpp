#include "plan/coverage.hpp"

#include <gtest/gtest.h>

namespace wsync {
namespace {

TEST(find_gap, nothing_where_all_is_covered) {
    const std::vector<Box> parts{{{0, 0}, {2, 4}}, {{2, 0}, {2, 3}}, {{2, 3}, {2, 1}}};
    EXPECT_EQ(find_gap({{0, 0}, {4, 4}}, parts), std::nullopt);
    EXPECT_EQ(find_gap({{0, 0}, {0, 4}}, {}), std::nullopt) << "an empty box lacks nothing";
    EXPECT_EQ(find_gap({}, std::vector<Box>{Box{}}), std::nullopt) << "a scalar";
}

TEST(find_gap, a_box_that_no_part_touches) {
    const std::vector<Box> frame{{{0, 0}, {1, 4}}, {{3, 0}, {1, 4}}, {{1, 0}, {2, 1}}, {{1, 3}, {2, 1}}};
    EXPECT_EQ(find_gap({{0, 0}, {4, 4}}, frame), (Box{{1, 1}, {2, 2}}));
    EXPECT_EQ(find_gap({}, {}), Box{});
    EXPECT_EQ(find_gap({{5}, {2}}, std::vector<Box>{{{0}, {5}}, {{7}, {9}}}), (Box{{5}, {2}})) << "parts outside do not count";
}

}  // namespace
}  // namespace wsync
