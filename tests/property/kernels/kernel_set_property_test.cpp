// Any size, any alignment, any rows: every set gives the bytes and digests of the plain ones.
#include "kernels/kernel_set.hpp"

#include <rapidcheck.h>

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace wsync {
namespace {

// Noise without asking rapidcheck for every byte.
std::vector<std::byte> noise(std::size_t bytes, std::uint64_t seed) {
    std::vector<std::byte> data(bytes);
    for (auto& byte : data) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        byte = static_cast<std::byte>(seed >> 56);
    }
    return data;
}

std::size_t any_size() {
    // Small ones, and ones beside a power of two up to 256 KiB.
    if (*rc::gen::arbitrary<bool>()) return *rc::gen::inRange<std::size_t>(0, 600);
    auto power = std::size_t{1} << *rc::gen::inRange(9, 18);
    return power - 70 + *rc::gen::inRange<std::size_t>(0, 140);
}

TEST(KernelSetProperties, CopyAndDigestAreThoseOfTheBytes) {
    EXPECT_TRUE(rc::check([] {
        auto bytes = any_size();
        auto shift_to = *rc::gen::inRange<std::size_t>(0, 130), shift_from = *rc::gen::inRange<std::size_t>(0, 130);
        auto source = noise(bytes + shift_from, *rc::gen::arbitrary<std::uint64_t>());
        auto want = digest_of({source.data() + shift_from, bytes});
        for (const auto& set : available_kernels()) {
            auto painted = noise(bytes + shift_to + 64, 99);
            auto target = painted;
            set.copy(target.data() + shift_to, source.data() + shift_from, bytes);
            RC_ASSERT(std::equal(target.begin() + static_cast<std::ptrdiff_t>(shift_to), target.end() - 64, source.begin() + static_cast<std::ptrdiff_t>(shift_from)));
            RC_ASSERT(std::equal(target.begin(), target.begin() + static_cast<std::ptrdiff_t>(shift_to), painted.begin()));
            RC_ASSERT(std::equal(target.end() - 64, target.end(), painted.end() - 64));
            auto again = painted;
            RC_ASSERT(set.copy_digest(again.data() + shift_to, source.data() + shift_from, bytes) == want);
            RC_ASSERT(again == target);
            RC_ASSERT(set.digest(source.data() + shift_from, bytes) == want);
        }
    }));
}

TEST(KernelSetProperties, RowsAreThePackedBytes) {
    EXPECT_TRUE(rc::check([] {
        auto rows = *rc::gen::inRange<std::size_t>(0, 12);
        auto row_bytes = any_size() / 4;
        auto from_stride = row_bytes + *rc::gen::inRange<std::size_t>(0, 80), to_stride = row_bytes + *rc::gen::inRange<std::size_t>(0, 80);
        auto source = noise(rows * from_stride + 1, *rc::gen::arbitrary<std::uint64_t>());
        std::vector<std::byte> packed, want = noise(rows * to_stride + 1, 7);
        for (std::size_t row = 0; row < rows; ++row) {
            auto begin = source.begin() + static_cast<std::ptrdiff_t>(row * from_stride);
            packed.insert(packed.end(), begin, begin + static_cast<std::ptrdiff_t>(row_bytes));
            std::copy(begin, begin + static_cast<std::ptrdiff_t>(row_bytes), want.begin() + static_cast<std::ptrdiff_t>(row * to_stride));
        }
        for (const auto& set : available_kernels()) {
            auto target = noise(rows * to_stride + 1, 7), plain = target;
            RC_ASSERT(copy_rows_digest(set, {target.data(), source.data(), to_stride, from_stride, row_bytes, rows}) == digest_of(packed));
            copy_rows(set, {plain.data(), source.data(), to_stride, from_stride, row_bytes, rows});
            RC_ASSERT(target == want);
            RC_ASSERT(plain == want);
            RC_ASSERT(digest_rows(set, source.data(), from_stride, row_bytes, rows) == digest_of(packed));
        }
    }));
}

}  // namespace
}  // namespace wsync
