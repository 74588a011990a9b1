#include "kernels/kernel_set.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace wsync {
namespace {

std::vector<std::byte> noise(std::size_t bytes, unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> data(bytes);
    std::size_t at = 0;
    for (; at + 8 <= bytes; at += 8) {
        auto word = random();
        std::memcpy(&data[at], &word, 8);
    }
    for (; at < bytes; ++at) data[at] = static_cast<std::byte>(random());
    return data;
}

// The sizes where something changes: nothing, lines, the stream threshold, XXH3's regimes, steps.
std::vector<std::size_t> edges() {
    std::vector<std::size_t> sizes;
    for (std::size_t edge : {0UL, 16UL, 32UL, 64UL, 128UL, 240UL, 256UL, 1024UL, 4096UL, 4096UL + 64, 64UL * 1024, 64UL * 1024 + 256, 128UL * 1024, 1UL << 20}) {
        for (std::size_t near : {edge - 1, edge, edge + 1, edge + 63}) {
            if (near <= (1UL << 20) + 63) sizes.push_back(near);
        }
    }
    return sizes;
}

constexpr std::size_t kGuard = 192;
constexpr std::byte kPaint{0xa5};

class EveryKernelSet : public ::testing::TestWithParam<std::string> {
protected:
    const KernelSet& set() const { return *find_kernels(GetParam()); }
};

TEST_P(EveryKernelSet, CopiesExactlyTheBytesAtEveryEdge) {
    auto source = noise((1 << 20) + 256, 1);
    std::vector<std::byte> target(source.size() + 2 * kGuard);
    for (auto bytes : edges()) {
        for (std::size_t shift : {0UL, 1UL, 31UL, 63UL}) {
            std::fill_n(target.begin(), std::min(target.size(), bytes + 2 * kGuard), kPaint);
            auto* to = target.data() + kGuard + (shift * 7) % 64;
            const auto* from = source.data() + shift;
            set().copy(to, from, bytes);
            ASSERT_TRUE(bytes == 0 || std::memcmp(to, from, bytes) == 0) << bytes << " bytes, shift " << shift;
            ASSERT_TRUE(std::all_of(target.data(), to, [](auto b) { return b == kPaint; })) << bytes;
            ASSERT_TRUE(std::all_of(to + bytes, target.data() + bytes + 2 * kGuard, [](auto b) { return b == kPaint; })) << bytes;
        }
    }
}

TEST_P(EveryKernelSet, CopiesAtEveryPairOfAlignmentsWithinALine) {
    auto source = noise(3 * 4096, 2);
    std::vector<std::byte> target(source.size() + 256);
    for (std::size_t a = 0; a < 64; ++a) {
        for (std::size_t b = 0; b < 64; ++b) {
            std::size_t bytes = 4096 + a + 2 * b;
            set().copy(target.data() + a, source.data() + b, bytes);
            ASSERT_EQ(std::memcmp(target.data() + a, source.data() + b, bytes), 0) << a << " " << b;
        }
    }
}

TEST_P(EveryKernelSet, DigestsAreTheCanonicalOnes) {
    auto source = noise((1 << 20) + 256, 3);
    std::vector<std::byte> target(source.size());
    for (auto bytes : edges()) {
        for (std::size_t shift : {0UL, 1UL, 63UL}) {
            auto want = digest_of({source.data() + shift, bytes});
            ASSERT_EQ(set().digest(source.data() + shift, bytes), want) << bytes;
            std::fill_n(target.begin(), bytes, kPaint);
            ASSERT_EQ(set().copy_digest(target.data(), source.data() + shift, bytes), want) << bytes;
            ASSERT_TRUE(bytes == 0 || std::memcmp(target.data(), source.data() + shift, bytes) == 0) << bytes;
        }
    }
}

TEST_P(EveryKernelSet, RowsAreCopiedAndDigestedAsIfPacked) {
    auto source = noise(3 << 20, 4);
    for (std::size_t row_bytes : {1UL, 48UL, 100UL, 4095UL, 4096UL, 5000UL, 65536UL, 200000UL}) {
        for (std::size_t rows : {1UL, 2UL, 7UL}) {
            std::size_t from_stride = row_bytes + 37, to_stride = row_bytes + 11;
            std::vector<std::byte> packed;
            for (std::size_t row = 0; row < rows; ++row) {
                auto begin = source.begin() + static_cast<std::ptrdiff_t>(row * from_stride + 5);
                packed.insert(packed.end(), begin, begin + static_cast<std::ptrdiff_t>(row_bytes));
            }
            std::vector<std::byte> target(to_stride * rows, kPaint), plain(to_stride * rows, kPaint);
            StridedRows wanted{target.data(), source.data() + 5, to_stride, from_stride, row_bytes, rows};
            ASSERT_EQ(copy_rows_digest(set(), wanted), digest_of(packed)) << row_bytes << "x" << rows;
            ASSERT_EQ(digest_rows(set(), source.data() + 5, from_stride, row_bytes, rows), digest_of(packed));
            wanted.to = plain.data();
            copy_rows(set(), wanted);
            ASSERT_EQ(plain, target);
            for (std::size_t row = 0; row < rows; ++row) {
                ASSERT_EQ(std::memcmp(&target[row * to_stride], &packed[row * row_bytes], row_bytes), 0);
                for (auto at = row * to_stride + row_bytes; at < (row + 1) * to_stride; ++at) ASSERT_EQ(target[at], kPaint);
            }
        }
    }
}

TEST_P(EveryKernelSet, RowsWithoutGapsAndNoRowsAtAll) {
    auto source = noise(40000, 5);
    std::vector<std::byte> target(source.size());
    EXPECT_EQ(copy_rows_digest(set(), {target.data(), source.data(), 400, 400, 400, 100}), digest_of(source));
    EXPECT_EQ(target, source);
    EXPECT_EQ(digest_rows(set(), source.data(), 400, 400, 100), digest_of(source));
    EXPECT_EQ(copy_rows_digest(set(), {target.data(), source.data(), 400, 400, 400, 0}), digest_of({}));
    EXPECT_EQ(digest_rows(set(), source.data(), 400, 0, 3), digest_of({}));
    copy_rows(set(), {nullptr, nullptr, 0, 0, 0, 0});
}

// Stride 0 on the source side repeats one row; it is legal for a fill.
TEST_P(EveryKernelSet, ARepeatedRow) {
    auto row = noise(300, 6);
    std::vector<std::byte> target(4 * 300), want;
    for (int i = 0; i < 4; ++i) want.insert(want.end(), row.begin(), row.end());
    EXPECT_EQ(copy_rows_digest(set(), {target.data(), row.data(), 300, 0, 300, 4}), digest_of(want));
    EXPECT_EQ(target, want);
}

// Of the two neighbours the nearer one; of two as near, the one whose last bit is 0.
std::uint16_t nearest_bf16(std::uint32_t bits) {
    const auto magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return 0xffff;
    const auto below = static_cast<std::uint16_t>(bits >> 16);
    const auto rest = bits & 0xffffU;
    if (rest < 0x8000U || (rest == 0x8000U && (below & 1U) == 0)) return below;
    return static_cast<std::uint16_t>(below + 1);  // from the largest finite one on: infinity
}

TEST_P(EveryKernelSet, RoundsToTheNearestBf16AndDigestsIt) {
    std::vector<std::uint32_t> special = {0, 0x80000000U, 1, 0x7fff, 0x8000, 0x8001, 0x18000, 0x3f800000U, 0x3f808000U, 0x3f818000U, 0x3f80ffffU, 0x7f7fffffU,
                                          0xff7fffffU, 0x7f7f7fffU, 0x7f7f8000U, 0x7f800000U, 0xff800000U, 0x7fc00000U, 0x7f800001U, 0xffffffffU};
    std::mt19937 random(7);
    for (std::size_t values : {0UL, 1UL, 7UL, 20UL, 33UL, 4096UL, 32767UL, 32768UL, 32769UL, 100003UL}) {
        std::vector<std::uint32_t> given(values);
        for (std::size_t i = 0; i < values; ++i) given[i] = i < special.size() ? special[i] : static_cast<std::uint32_t>(random());
        std::vector<std::byte> from(4 * values + 1), to(2 * values + 2 * kGuard, kPaint), want(2 * values);
        if (values > 0) std::memcpy(from.data() + 1, given.data(), 4 * values);  // at any alignment
        for (std::size_t i = 0; i < values; ++i) {
            const auto rounded = nearest_bf16(given[i]);
            std::memcpy(&want[2 * i], &rounded, 2);
        }
        ASSERT_EQ(set().bf16_digest(to.data() + kGuard, from.data() + 1, values), digest_of(want)) << values;
        ASSERT_TRUE(std::equal(want.begin(), want.end(), to.begin() + kGuard)) << values;
        ASSERT_TRUE(std::all_of(to.begin(), to.begin() + kGuard, [](auto b) { return b == kPaint; }));
        ASSERT_TRUE(std::all_of(to.end() - kGuard, to.end(), [](auto b) { return b == kPaint; }));
    }
}

std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto& set : available_kernels()) all.emplace_back(set.name);
    return all;
}
INSTANTIATE_TEST_SUITE_P(Kernels, EveryKernelSet, ::testing::ValuesIn(names()), [](const auto& info) { return info.param; });

TEST(KernelSets, ThePortableOneComesFirstAndNamesAreUnique) {
    ASSERT_FALSE(available_kernels().empty());
    EXPECT_EQ(available_kernels().front().name, "memcpy");
    auto all = names();
    EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

TEST(KernelSets, TheDefaultIsOneOfThem) {
    EXPECT_EQ(find_kernels(default_kernels().name), &default_kernels());
    EXPECT_EQ(find_kernels("quantum"), nullptr);
}

#if defined(__x86_64__)
TEST(KernelSets, WhatTheProcessorHasIsOffered) {
    EXPECT_EQ(find_kernels("avx2_nt") != nullptr, __builtin_cpu_supports("avx2") != 0);
    EXPECT_EQ(find_kernels("avx512_nt") != nullptr, __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
}
#endif

}  // namespace
}  // namespace wsync
