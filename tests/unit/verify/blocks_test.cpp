#include "verify/blocks.hpp"

#include <gtest/gtest.h>

namespace wsync {
namespace {

std::vector<Box> blocks(const Box& box, DType dtype) {
    std::vector<Box> out;
    for_each_block(box, dtype, [&](const Box& block) { out.push_back(block); });
    EXPECT_EQ(out.size(), count_blocks(box, dtype));
    return out;
}

TEST(blocks, a_small_box_is_one_block) {
    const Box box{{3, 0}, {5, 7}};
    EXPECT_EQ(blocks(box, DType::bf16), std::vector<Box>{box});
    EXPECT_EQ(blocks({}, DType::f64), std::vector<Box>{Box{}}) << "a scalar";
    EXPECT_TRUE(blocks({{0, 0}, {0, 7}}, DType::bf16).empty());
}

TEST(blocks, exactly_one_mebibyte_is_one_block_and_a_byte_more_is_two) {
    EXPECT_EQ(blocks({{0}, {kBlockBytes}}, DType::u8).size(), 1u);
    EXPECT_EQ(blocks({{5}, {kBlockBytes + 1}}, DType::u8), (std::vector<Box>{{{5}, {kBlockBytes}}, {{5 + kBlockBytes}, {1}}}));
}

TEST(blocks, whole_rows_together) {
    // Rows of 8192 bf16: 64 of them in a block.
    const auto cut = blocks({{100, 0}, {130, 8192}}, DType::bf16);
    EXPECT_EQ(cut, (std::vector<Box>{{{100, 0}, {64, 8192}}, {{164, 0}, {64, 8192}}, {{228, 0}, {2, 8192}}}));
}

TEST(blocks, inside_a_row_where_it_is_too_long) {
    // Rows of 1.5 MiB.
    const auto cut = blocks({{0, 0}, {2, 1536 * 1024}}, DType::u8);
    const std::uint64_t half = 512 * 1024;
    EXPECT_EQ(cut, (std::vector<Box>{{{0, 0}, {1, kBlockBytes}}, {{0, kBlockBytes}, {1, half}}, {{1, 0}, {1, kBlockBytes}}, {{1, kBlockBytes}, {1, half}}}));
}

TEST(blocks, dimensions_of_one_do_not_count) {
    EXPECT_EQ(blocks({{7, 0, 9, 0}, {1, 3, 1, kBlockBytes}}, DType::u8),
              (std::vector<Box>{{{7, 0, 9, 0}, {1, 1, 1, kBlockBytes}}, {{7, 1, 9, 0}, {1, 1, 1, kBlockBytes}}, {{7, 2, 9, 0}, {1, 1, 1, kBlockBytes}}}));
}

TEST(blocks, sub_byte_types_end_on_whole_bytes) {
    // Rows of 3 four-bit elements: an even number of rows in each block.
    const Box box{{0, 0}, {1'000'000, 3}};
    std::uint64_t rows = 0;
    for (const Box& block : blocks(box, DType::f4)) {
        EXPECT_EQ(block.size[0] % 2, 0u);
        EXPECT_LE(block.bytes(DType::f4), kBlockBytes);
        rows += block.size[0];
    }
    EXPECT_EQ(rows, 1'000'000u);
    // 6-bit elements: 1,398,100 of them are the largest whole bytes in a block.
    EXPECT_EQ(blocks({{0}, {4'000'000}}, DType::f6_e2m3).front(), (Box{{0}, {1'398'100}}));
}

TEST(blocks, rows_of_odd_elements_too_long_for_a_block_go_in_whole_groups) {
    const Box box{{0, 0}, {4, 3'000'001}};
    EXPECT_EQ(blocks(box, DType::f4), (std::vector<Box>{{{0, 0}, {2, 3'000'001}}, {{2, 0}, {2, 3'000'001}}}));
}

TEST(blocks, any_block_by_its_number) {
    const Box box{{1, 2, 3}, {3, 5, 700'000}};
    const BlockCut cut(box, DType::bf16);
    const auto all = blocks(box, DType::bf16);
    std::uint64_t offset = 0;
    for (std::uint64_t i = 0; i < cut.count(); ++i) {
        EXPECT_EQ(cut.block(i), all[i]);
        EXPECT_EQ(cut.offset(i), offset);
        EXPECT_EQ(cut.bytes(i), all[i].bytes(DType::bf16));
        offset += cut.bytes(i);
    }
    EXPECT_EQ(offset, box.bytes(DType::bf16));
}

TEST(blocks, a_huge_box_costs_nothing_to_count) {
    EXPECT_EQ(count_blocks({{0, 0}, {std::uint64_t{1} << 30, std::uint64_t{1} << 30}}, DType::u8), std::uint64_t{1} << 40);
}

TEST(digest_of_list, depends_on_order_and_number) {
    const Digest a = digest_of({}), b{};
    EXPECT_NE(digest_of_list(std::vector{a, b}), digest_of_list(std::vector{b, a}));
    EXPECT_NE(digest_of_list(std::vector{a}), digest_of_list(std::vector{a, a}));
    EXPECT_EQ(digest_of_list({}), digest_of({}));
}

}  // namespace
}  // namespace wsync
