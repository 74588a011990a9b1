#include "transport/bounds.hpp"

#include "result_matchers.hpp"

#include <array>
#include <limits>
#include <rapidcheck/gtest.h>

namespace wsync {
namespace {

using ::wsync::testing::HasCode;

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

// In arithmetic that can't overflow.
bool inside(std::uint64_t offset, std::uint64_t stride, std::uint64_t row_bytes, std::uint64_t rows, std::uint64_t bytes) {
    if (rows == 0 || row_bytes == 0) return offset <= bytes;
    if (rows > 1 && stride < row_bytes) return false;
    using Wide = unsigned __int128;
    // (2^64)^2 does not fit: rows of a stride beyond 2^64 bytes are outside anyway.
    const Wide last = static_cast<Wide>(rows - 1) * stride;
    if (last > kMax) return false;
    return static_cast<Wide>(offset) + last + row_bytes <= bytes;
}

RC_GTEST_PROP(Bounds, AgreeWithWideArithmetic, ()) {
    const auto number = [] {
        return *rc::gen::oneOf(rc::gen::inRange<std::uint64_t>(0, 40), rc::gen::map(rc::gen::inRange<std::uint64_t>(0, 5), [](std::uint64_t n) { return kMax - n; }),
                               rc::gen::map(rc::gen::inRange<int>(0, 64), [](int n) { return std::uint64_t{1} << n; }), rc::gen::arbitrary<std::uint64_t>());
    };
    const auto offset = number(), stride = number(), row_bytes = number(), rows = number(), bytes = number();
    RC_ASSERT(check_rows(offset, stride, row_bytes, rows, bytes, "remote").has_value() == inside(offset, stride, row_bytes, rows, bytes));
}

TEST(Bounds, WhatCannotBeTouchedIsUnsupported) {
    Region device;
    device.kind = MemoryKind::device;
    device.bytes = 10;
    device.writable = true;
    EXPECT_THAT(check_transfer({.local = &device, .row_bytes = 1}, 10), HasCode(Code::unsupported));
    EXPECT_THAT(check_transfer({.row_bytes = 1}, 10), HasCode(Code::invalid_argument));
    std::array<std::byte, 10> memory{};
    Region host;
    host.address = memory.data();
    host.bytes = 10;
    EXPECT_THAT(check_transfer({.local = &host, .row_bytes = 1}, 10), HasCode(Code::invalid_argument));
    EXPECT_OK(check_transfer({.op = Op::write, .local = &host, .row_bytes = 1}, 10));
    host.writable = true;
    EXPECT_OK(check_transfer({.local = &host, .row_bytes = 10}, 10));
    EXPECT_THAT(check_transfer({.local = &host, .row_bytes = 10}, 9), HasCode(Code::invalid_argument));
    EXPECT_THAT(check_transfer({.local = &host, .local_offset = 1, .row_bytes = 10}, 10), HasCode(Code::invalid_argument));
}

}  // namespace
}  // namespace wsync
