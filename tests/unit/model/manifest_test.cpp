#include "wsync/model/manifest.hpp"

#include "model/utf8.hpp"
#include "result_matchers.hpp"

#include <limits>
#include <set>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

constexpr std::uint64_t k2to62 = std::uint64_t{1} << 62;

TEST(DType, NamesGoBothWays) {
    std::set<std::string_view> names;
    for (int i = 0; i < kDTypeCount; ++i) {
        const auto dtype = static_cast<DType>(i);
        names.insert(name_of(dtype));
        ASSERT_OK(dtype_from_name(name_of(dtype)));
        EXPECT_EQ(*dtype_from_name(name_of(dtype)), dtype);
        EXPECT_EQ(*dtype_from_alias(name_of(dtype)), dtype);
    }
    EXPECT_EQ(names.size(), 22U);
    EXPECT_EQ(*dtype_from_name("F8_E4M3"), DType::f8_e4m3);
    EXPECT_THAT(dtype_from_name("bf16"), HasError(Code::unsupported, "bf16"));
    EXPECT_THAT(dtype_from_name(""), HasCode(Code::unsupported));
}

TEST(DType, Bits) {
    EXPECT_EQ(bits_of(DType::f4), 4U);
    EXPECT_EQ(bits_of(DType::f6_e2m3), 6U);
    EXPECT_EQ(bits_of(DType::boolean), 8U);
    EXPECT_EQ(bits_of(DType::bf16), 16U);
    EXPECT_EQ(bits_of(DType::c64), 64U);
}

TEST(DType, Aliases) {
    EXPECT_EQ(*dtype_from_alias("bf16"), DType::bf16);
    EXPECT_EQ(*dtype_from_alias("torch.bfloat16"), DType::bf16);
    EXPECT_EQ(*dtype_from_alias("FP16"), DType::f16);
    EXPECT_EQ(*dtype_from_alias("float32"), DType::f32);
    EXPECT_EQ(*dtype_from_alias("fp8"), DType::f8_e4m3);
    EXPECT_THAT(dtype_from_alias("float33"), HasError(Code::invalid_argument, "bfloat16"));
}

TEST(Dims, ProductAndText) {
    std::uint64_t product = 7;
    EXPECT_TRUE(checked_product(Dims{}, product));
    EXPECT_EQ(product, 1U);
    EXPECT_TRUE(checked_product(Dims{3, 0, 5}, product));
    EXPECT_EQ(product, 0U);
    EXPECT_FALSE(checked_product(Dims{k2to62, 4}, product));
    EXPECT_FALSE(checked_product(Dims{0, k2to62, 4}, product));
    EXPECT_EQ((Dims{4096, 1024}).to_string(), "[4096, 1024]");
    EXPECT_EQ(Dims{}.to_string(), "[]");
}

TEST(Utf8, AcceptsAndRefuses) {
    for (std::string_view good : {"", "model.layers.0.weight", "é", "漢字", "\xF0\x9F\x98\x80", "a long ascii prefix é"}) EXPECT_TRUE(is_utf8(good)) << good;
    for (std::string_view bad : {"\x80", "\xC0\xAF", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xFF", "abcdefgh\xE6\xBC"}) {
        EXPECT_FALSE(is_utf8(bad));
    }
}

TEST(Manifest, KnowsItsTensors) {
    auto made = Manifest::make({{"a", DType::bf16, {3, 5}}, {"scalar", DType::f64, {}}, {"none", DType::u8, {0, 7}}, {"four", DType::f4, {3, 2}}});
    ASSERT_OK(made);
    EXPECT_EQ(made->size(), 4U);
    EXPECT_EQ(made->bytes(), 30U + 8 + 0 + 3);
    EXPECT_EQ(made->parameters(), 15U + 1 + 0 + 6);
    EXPECT_EQ(made->find("scalar"), std::optional<std::uint32_t>(1));
    EXPECT_EQ(made->find("other"), std::nullopt);
    EXPECT_EQ((*made)[2].bytes(), 0U);
}

TEST(Manifest, DigestSeesNamesTypesShapesAndOrder) {
    const auto digest = [](std::vector<TensorSpec> tensors) { return Manifest::make(std::move(tensors)).value().digest(); };
    const TensorSpec a{"a", DType::bf16, {2, 3}}, b{"b", DType::bf16, {2, 3}};
    EXPECT_EQ(digest({a, b}), digest({a, b}));
    EXPECT_NE(digest({a, b}), digest({b, a}));
    EXPECT_NE(digest({a}), digest({b}));
    EXPECT_NE(digest({a}), digest({{"a", DType::f16, {2, 3}}}));
    EXPECT_NE(digest({a}), digest({{"a", DType::bf16, {3, 2}}}));
    EXPECT_NE(digest({a}), digest({{"a", DType::bf16, {6}}}));
}

TEST(Manifest, RefusesBadNames) {
    EXPECT_THAT(Manifest::make({{"", DType::u8, {1}}}), HasError(Code::invalid_argument, "empty name"));
    EXPECT_OK(Manifest::make({{std::string(1024, 'x'), DType::u8, {1}}}));
    EXPECT_THAT(Manifest::make({{std::string(1025, 'x'), DType::u8, {1}}}), HasError(Code::invalid_argument, "1024"));
    EXPECT_THAT(Manifest::make({{"\xFF", DType::u8, {1}}}), HasError(Code::invalid_argument, "UTF-8"));
    EXPECT_THAT(Manifest::make({{std::string("a\0b", 3), DType::u8, {1}}}), HasError(Code::invalid_argument, "NUL"));
    EXPECT_THAT(Manifest::make({{"twin", DType::u8, {1}}, {"twin", DType::u8, {2}}}), HasError(Code::invalid_argument, "\"twin\" is named twice"));
}

TEST(Manifest, RefusesBadSizes) {
    EXPECT_THAT(Manifest::make({{"odd", DType::f4, {3}}}), HasError(Code::invalid_argument, "\"odd\""));
    EXPECT_THAT(Manifest::make({{"odd", DType::f6_e2m3, {2}}}), HasError(Code::invalid_argument, "whole number of bytes"));
    EXPECT_OK(Manifest::make({{"even", DType::f6_e2m3, {4}}}));
    EXPECT_THAT(Manifest::make({{"huge", DType::u8, {k2to62, 2}}}), HasError(Code::invalid_argument, "\"huge\""));
    EXPECT_THAT(Manifest::make({{"huge", DType::u8, {k2to62, 4}}}), HasError(Code::invalid_argument, "\"huge\""));
    EXPECT_THAT(Manifest::make({{"huge", DType::f64, {k2to62}}}), HasError(Code::invalid_argument, "2^63 bytes"));
    EXPECT_THAT(Manifest::make({{"huge", DType::f64, {0, k2to62 * 2}}}), HasError(Code::invalid_argument, "extent"));
    EXPECT_THAT(Manifest::make({{"a", DType::u8, {k2to62}}, {"b", DType::u8, {k2to62}}}), HasError(Code::invalid_argument, "\"b\""));
    EXPECT_OK(Manifest::make({{"a", DType::f4, {k2to62}}, {"b", DType::u8, {k2to62 - 1}}}));
}

}  // namespace
}  // namespace wsync
