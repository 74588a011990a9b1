#include "verify/at_rest.hpp"

#include "result_matchers.hpp"
#include "unit/verify/host_region.hpp"

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;
using testing::host_region;
using testing::pattern;

// One tensor of which rank 1 holds rows 4 to 8, in a slab behind something else.
struct Sink {
    Layout layout = Layout::make(Manifest::make({{"w", DType::u8, {8, 16}}}).value(), 2, {{0, 0, {{0, 0}, {4, 16}}}, {1, 0, {{4, 0}, {4, 16}}}}, Coverage::partial).value();
    Placement placement{{{0, 10}}, {74}};
    std::vector<Region> regions{host_region(pattern(74))};
    Result<Digest> digest(const Box& box, std::size_t shard = 1) const {
        return digest_box_at_rest(layout, shard, box, placement, regions, default_kernels());
    }
    // Rows of the tensor as they lie in the slab.
    std::vector<std::byte> rows(std::uint64_t first, std::uint64_t count, std::uint64_t column, std::uint64_t columns) const {
        std::vector<std::byte> out;
        for (std::uint64_t r = first; r < first + count; ++r) {
            const std::byte* begin = regions[0].address + 10 + (r - 4) * 16 + column;
            out.insert(out.end(), begin, begin + columns);
        }
        return out;
    }
};

TEST(digest_box_at_rest, flat_rows_and_strided_rows) {
    const Sink sink;
    EXPECT_EQ(sink.digest({{4, 0}, {4, 16}}).value(), digest_of(sink.rows(4, 4, 0, 16)));
    EXPECT_EQ(sink.digest({{6, 0}, {2, 16}}).value(), digest_of(sink.rows(6, 2, 0, 16)));
    EXPECT_EQ(sink.digest({{5, 3}, {1, 9}}).value(), digest_of(sink.rows(5, 1, 3, 9)));
    EXPECT_EQ(sink.digest({{5, 3}, {3, 9}}).value(), digest_of(sink.rows(5, 3, 3, 9)));
    EXPECT_EQ(sink.digest({{4, 0}, {0, 16}}).value(), digest_of({}));
}

TEST(digest_box_at_rest, a_row_off_by_one_shows) {
    const Sink sink;
    EXPECT_NE(sink.digest({{5, 0}, {2, 8}}).value(), sink.digest({{6, 0}, {2, 8}}).value());
}

TEST(digest_box_at_rest, refuses_what_is_not_there) {
    Sink sink;
    EXPECT_THAT(sink.digest({{3, 0}, {2, 16}}), HasError(Code::invalid_argument, "box [3:5, 0:16] is not inside box [4:8, 0:16] of tensor \"w\""));
    EXPECT_THAT(sink.digest({{4, 0}, {4, 17}}), HasCode(Code::invalid_argument));
    EXPECT_THAT(sink.digest({{4, 8}, {1, ~std::uint64_t{0}}}), HasCode(Code::invalid_argument));
    EXPECT_THAT(sink.digest({{4}, {1}}), HasCode(Code::invalid_argument));
    EXPECT_THAT(sink.digest({{4}, {1, 16}}), HasCode(Code::invalid_argument));
    EXPECT_THAT(sink.digest({{4, 0}, {1, 16}}, 2), HasError(Code::invalid_argument, "shard 2 is not among the layout's 2"));
    sink.regions[0].kind = MemoryKind::device;
    EXPECT_THAT(sink.digest({{4, 0}, {1, 16}}), HasCode(Code::unsupported));
    sink.regions[0].bytes = 73;
    EXPECT_THAT(sink.digest({{4, 0}, {1, 16}}), HasCode(Code::invalid_argument));
    sink.placement.places.clear();
    EXPECT_THAT(sink.digest({{4, 0}, {1, 16}}), HasError(Code::invalid_argument, "has no place for"));
}

TEST(digest_box_at_rest, refuses_to_cut_a_byte) {
    const Layout layout = Layout::replicated(Manifest::make({{"w", DType::f4, {4, 4}}}).value()).value();
    const Placement placement = pack(layout, 0).value();
    const std::vector<Region> regions{host_region(pattern(8))};
    EXPECT_THAT(digest_box_at_rest(layout, 0, {{0, 1}, {2, 2}}, placement, regions, default_kernels()), HasError(Code::invalid_argument, "inside a byte"));
    EXPECT_OK(digest_box_at_rest(layout, 0, {{0, 2}, {2, 2}}, placement, regions, default_kernels()));
}

}  // namespace
}  // namespace wsync
