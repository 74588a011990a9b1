#include "format/safetensors.hpp"

#include "result_matchers.hpp"
#include "wsync/model/catalogue.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

// A header around the JSON, and what the parser says of a file with so many bytes of data behind it.
Bytes framed(std::string_view json) {
    ByteWriter writer;
    writer.u64(json.size()).raw(as_bytes_of(json));
    return writer.take();
}
Result<SafetensorsHeader> parse(std::string_view json, std::uint64_t data_bytes) {
    const Bytes header = framed(json);
    return parse_safetensors_header(header, header.size() + data_bytes, "x.safetensors");
}
// One tensor "a" with these fields.
std::string tensor(std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return fmt::format(R"({{"a":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
}

TEST(SafetensorsReader, ReadsWhatTheFormatAllows) {
    const auto header = parse(R"({"__metadata__":{"format":"pt","é":"\u6f22"},"b":{"shape":[2,3],"data_offsets":[4,16],"dtype":"BF16"},)"
                              R"( "a" : { "dtype" : "F32", "data_offsets" : [ 0, 4 ], "shape" : [] } }   )",
                              16);
    ASSERT_OK(header);
    EXPECT_EQ(header->manifest, Manifest::make({{"a", DType::f32, {}}, {"b", DType::bf16, {2, 3}}}).value()) << "ordered by offset";
    EXPECT_EQ(header->begins, (std::vector<std::uint64_t>{0, 4}));
    EXPECT_EQ(header->metadata, (SafetensorsMetadata{{"format", "pt"}, {"é", "漢"}}));
    EXPECT_EQ(header->data_bytes, 16U);
}

TEST(SafetensorsReader, ReadsEmptyTensorsScalarsAndNothing) {
    EXPECT_OK(parse("{}", 0));
    EXPECT_OK(parse("{}        ", 0));
    EXPECT_OK(parse(R"({"__metadata__":{}})", 0));
    EXPECT_OK(parse(tensor("F32", "[0]", "[0,0]"), 0));
    EXPECT_OK(parse(tensor("F32", "[3,0,5]", "[0,0]"), 0));
    EXPECT_OK(parse(tensor("U8", "[]", "[0,1]"), 1));
    // Empty tensors at one offset keep the header's order, wherever the one with bytes stands.
    const auto header = parse(R"({"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"full":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                              R"("y":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                              1);
    ASSERT_OK(header);
    EXPECT_EQ(header->manifest[0].name, "z");
    EXPECT_EQ(header->manifest[1].name, "y");
    EXPECT_EQ(header->manifest[2].name, "full");
}

TEST(SafetensorsReader, ReadsEveryType) {
    for (int i = 0; i < kDTypeCount; ++i) {
        const auto dtype = static_cast<DType>(i);
        const std::uint64_t bytes = bits_of(dtype);
        EXPECT_OK(parse(tensor(name_of(dtype), "[2,4]", fmt::format("[0,{}]", bytes)), bytes)) << name_of(dtype);
        EXPECT_THAT(parse(tensor(name_of(dtype), "[2,4]", fmt::format("[0,{}]", bytes + 1)), bytes + 1), HasError(Code::corrupt, "needs"));
    }
    EXPECT_THAT(parse(tensor("F7", "[1]", "[0,1]"), 1), HasError(Code::unsupported, "\"a\": unknown dtype \"F7\""));
    EXPECT_THAT(parse(tensor("F4", "[3]", "[0,1]"), 1), HasError(Code::corrupt, "whole number of bytes"));
    EXPECT_THAT(parse(tensor("F6_E2M3", "[2]", "[0,1]"), 1), HasError(Code::corrupt, "whole number of bytes"));
}

TEST(SafetensorsReader, TheLengthIsCheckedFirst) {
    const auto length = [](std::uint64_t n, std::uint64_t file) {
        ByteWriter writer;
        writer.u64(n);
        return safetensors_header_bytes(writer.view(), file, "x");
    };
    EXPECT_EQ(length(2, 10).value(), 10U);
    EXPECT_EQ(length(100'000'000, 200'000'000).value(), 100'000'008U);
    EXPECT_THAT(length(100'000'001, 200'000'000), HasError(Code::corrupt, "limit"));
    EXPECT_THAT(length(std::uint64_t{1} << 63, ~std::uint64_t{0}), HasError(Code::corrupt, "limit"));
    EXPECT_THAT(length(~std::uint64_t{0}, 100), HasCode(Code::corrupt));
    EXPECT_THAT(length(0, 8), HasError(Code::corrupt, "no JSON object"));
    EXPECT_THAT(length(0, 100), HasError(Code::corrupt, "no JSON object"));
    EXPECT_THAT(length(93, 100), HasError(Code::corrupt, "truncated"));
    EXPECT_THAT(length(92, 7), HasError(Code::corrupt, "begins with 8"));
    EXPECT_THAT(safetensors_header_bytes({}, 0), HasError(Code::corrupt, "0 bytes"));
    EXPECT_THAT(parse_safetensors_header({}, 0, "empty.safetensors"), HasError(Code::corrupt, "empty.safetensors"));
    const Bytes header = framed("{}");
    EXPECT_THAT(parse_safetensors_header(std::span(header).first(9), 10, "x"), HasCode(Code::invalid_argument));
}

TEST(SafetensorsReader, OffsetsLeaveNoHoleAndNoOverlap) {
    const auto two = [](std::string_view a, std::string_view b, std::uint64_t bytes) {
        return parse(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})", a, b), bytes);
    };
    EXPECT_OK(two("[0,4]", "[4,8]", 8));
    EXPECT_OK(two("[4,8]", "[0,4]", 8));
    EXPECT_THAT(two("[0,4]", "[5,9]", 9), HasError(Code::corrupt, "tensor \"b\" begins at offset 5 of the data, the one before it ends at 4: there is a hole"));
    EXPECT_THAT(two("[0,4]", "[3,7]", 7), HasError(Code::corrupt, "they overlap"));
    EXPECT_THAT(two("[0,4]", "[0,4]", 4), HasError(Code::corrupt, "they overlap"));
    EXPECT_THAT(two("[0,4]", "[0,4]", 8), HasError(Code::corrupt, "they overlap"));
    EXPECT_THAT(two("[1,5]", "[5,9]", 9), HasError(Code::corrupt, "there is a hole"));
    EXPECT_THAT(two("[0,4]", "[8,4]", 8), HasError(Code::corrupt, "\"b\" ends at 4, before it begins at 8"));
    EXPECT_THAT(two("[0,4]", "[4,8]", 7), HasError(Code::corrupt, "truncated"));
    EXPECT_THAT(two("[0,4]", "[4,8]", 9), HasError(Code::corrupt, "1 bytes behind the last tensor"));
    EXPECT_THAT(parse("{}", 1), HasError(Code::corrupt, "1 bytes behind"));
    EXPECT_THAT(two("[0,4]", "[4,18446744073709551615]", 8), HasCode(Code::corrupt));
    EXPECT_THAT(two("[0,5]", "[5,8]", 8), HasError(Code::corrupt, "needs 4"));
}

TEST(SafetensorsReader, SizesThatOverflow) {
    EXPECT_THAT(parse(tensor("U8", "[4294967296,4294967296]", "[0,0]"), 0), HasError(Code::corrupt, "\"a\""));
    EXPECT_THAT(parse(tensor("U8", "[9223372036854775808]", "[0,0]"), 0), HasError(Code::corrupt, "\"a\""));
    EXPECT_THAT(parse(tensor("U8", "[18446744073709551615,2]", "[0,0]"), 0), HasCode(Code::corrupt));
    EXPECT_THAT(parse(tensor("F64", "[2305843009213693952]", "[0,0]"), 0), HasError(Code::corrupt, "2^63 bytes"));
    EXPECT_THAT(parse(tensor("F4", "[18446744073709551614]", "[0,9223372036854775807]"), 0), HasCode(Code::corrupt));
    EXPECT_THAT(parse(tensor("U8", "[0,4294967296,4294967296,4294967296]", "[0,0]"), 0), HasCode(Code::corrupt));
}

TEST(SafetensorsReader, NumbersAreWholeAndInRange) {
    for (std::string_view bad : {"-1", "-0", "1.0", "1e2", "1e400", "NaN", "nan", "Infinity", "0x1", "01", "+1", "18446744073709551616", "null", "true",
                                 "\"1\"", "[1]", "{}", ","}) {
        EXPECT_THAT(parse(tensor("U8", fmt::format("[{}]", bad), "[0,1]"), 1), HasCode(Code::corrupt)) << bad;
        EXPECT_THAT(parse(tensor("U8", "[1]", fmt::format("[0,{}]", bad)), 1), HasCode(Code::corrupt)) << bad;
        EXPECT_THAT(parse(tensor("U8", "[1]", fmt::format("[{},1]", bad)), 1), HasCode(Code::corrupt)) << bad;
    }
    EXPECT_THAT(parse(tensor("U8", "[-1]", "[0,1]"), 1), HasError(Code::corrupt, "a negative number is not allowed in \"shape\" of tensor \"a\""));
    EXPECT_THAT(parse(tensor("U8", "[1]", "[0,1e400]"), 1), HasError(Code::corrupt, "1e400"));
    EXPECT_THAT(parse(tensor("U8", "[1]", "[0,1.5]"), 1), HasError(Code::corrupt, "\"data_offsets\" of tensor \"a\""));
}

TEST(SafetensorsReader, FieldsHaveTheirTypes) {
    EXPECT_THAT(parse(tensor("U8", "[1]", "[0]"), 1), HasError(Code::corrupt, "has 1 numbers"));
    EXPECT_THAT(parse(tensor("U8", "[1]", "[0,1,1]"), 1), HasError(Code::corrupt, "more than 2"));
    EXPECT_THAT(parse(tensor("U8", "[1]", "[]"), 1), HasCode(Code::corrupt));
    EXPECT_THAT(parse(tensor("U8", "1", "[0,1]"), 1), HasError(Code::corrupt, "\"shape\" of tensor \"a\""));
    EXPECT_THAT(parse(tensor("U8", "[[1]]", "[0,1]"), 1), HasError(Code::corrupt, "a list is not allowed"));
    EXPECT_THAT(parse(tensor("U8", "[1]", "{}"), 1), HasCode(Code::corrupt));
    EXPECT_THAT(parse(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1), HasError(Code::corrupt, "\"dtype\" of tensor \"a\""));
    EXPECT_THAT(parse(R"({"a":[1]})", 1), HasError(Code::corrupt, "\"a\""));
    EXPECT_THAT(parse(R"({"a":1})", 1), HasError(Code::corrupt, "\"a\""));
    EXPECT_THAT(parse(R"({"a":null})", 1), HasCode(Code::corrupt));
    EXPECT_THAT(parse(R"({"a":{}})", 1), HasError(Code::corrupt, "has no \"dtype\""));
    EXPECT_THAT(parse(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1), HasError(Code::corrupt, "has no \"shape\""));
    EXPECT_THAT(parse(R"({"a":{"dtype":"U8","shape":[1]}})", 1), HasError(Code::corrupt, "has no \"data_offsets\""));
    EXPECT_THAT(parse(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"stride":[1]}})", 1), HasError(Code::corrupt, "unknown field \"stride\""));
    EXPECT_THAT(parse(R"({"__metadata__":{"k":1}})", 0), HasError(Code::corrupt, "\"__metadata__\" at \"k\""));
    EXPECT_THAT(parse(R"({"__metadata__":{"k":{}}})", 0), HasCode(Code::corrupt));
    EXPECT_THAT(parse(R"({"__metadata__":null})", 0), HasError(Code::corrupt, "__metadata__"));
    EXPECT_THAT(parse(R"({"__metadata__":[]})", 0), HasCode(Code::corrupt));
}

TEST(SafetensorsReader, NothingOccursTwice) {
    const std::string entry = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
    EXPECT_THAT(parse("{" + entry + "," + entry + "}", 1), HasCode(Code::corrupt));
    EXPECT_THAT(parse("{" + entry + R"(,"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2), HasError(Code::corrupt, "\"a\" is named twice"));
    EXPECT_THAT(parse(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), HasError(Code::corrupt, "\"dtype\" twice"));
    EXPECT_THAT(parse(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1), HasError(Code::corrupt, "\"shape\" twice"));
    EXPECT_THAT(parse(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]}})", 1), HasError(Code::corrupt, "twice"));
    EXPECT_THAT(parse(R"({"__metadata__":{},"__metadata__":{}})", 0), HasError(Code::corrupt, "twice"));
    EXPECT_THAT(parse(R"({"__metadata__":{"k":"1","k":"1"}})", 0), HasError(Code::corrupt, "\"k\" occurs twice"));
}

TEST(SafetensorsReader, SyntaxAndText) {
    EXPECT_THAT(parse(" {}", 0), HasError(Code::corrupt, "does not begin with '{'"));
    EXPECT_THAT(parse("[]", 0), HasError(Code::corrupt, "does not begin with '{'"));
    EXPECT_THAT(parse("\xEF\xBB\xBF{}", 0), HasError(Code::corrupt, "does not begin with '{'"));
    for (std::string_view bad : {"{{", "{}}", "{} x", "{}{}", "{\"a\"", "{\"a\":", "{,}", "{} //", "{/**/}", "{'a':1}", "{a:1}"}) {
        EXPECT_THAT(parse(bad, 0), HasCode(Code::corrupt)) << bad;
    }
    EXPECT_THAT(parse(std::string("{}\0\0", 4), 0), HasError(Code::corrupt, "a NUL at byte 2"));
    EXPECT_THAT(parse("{\"a\xFF\":1}", 0), HasError(Code::corrupt, "UTF-8"));
    EXPECT_THAT(parse("{\"\xC0\xAF\":1}", 0), HasCode(Code::corrupt));
    EXPECT_THAT(parse(R"({"\ud800":{}})", 0), HasCode(Code::corrupt));
    EXPECT_THAT(parse("{\"a\nb\":1}", 0), HasError(Code::corrupt, "syntax error at byte"));
    // Whatever the name, the message is one line of text.
    const auto odd = parse(R"({"a\nb\u001b[31m":1})", 0);
    ASSERT_THAT(odd, HasCode(Code::corrupt));
    EXPECT_EQ(odd.error().to_string().find_first_of("\n\x1b"), std::string::npos) << odd.error().to_string();
}

TEST(SafetensorsReader, Depth) {
    EXPECT_THAT(parse("{\"a\":" + std::string(1'000'000, '['), 0), HasError(Code::corrupt, "\"a\""));
    std::string objects = "{";
    for (int i = 0; i < 100'000; ++i) objects += "\"a\":{";
    EXPECT_THAT(parse(objects, 0), HasCode(Code::corrupt));
    EXPECT_THAT(parse("{\"__metadata__\":{\"a\":" + std::string(100'000, '['), 0), HasCode(Code::corrupt));
}

TEST(SafetensorsReader, LimitsOfWsync) {
    EXPECT_OK(parse(tensor("U8", "[1,1,1,1,1,1,1,1]", "[0,1]"), 1));
    EXPECT_THAT(parse(tensor("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1), HasError(Code::unsupported, "tensor \"a\" has more than 8 dimensions"));
    std::string many = "1";
    for (int i = 0; i < 1'000'000; ++i) many += ",1";
    EXPECT_THAT(parse(tensor("U8", "[" + many + "]", "[0,1]"), 1), HasError(Code::unsupported, "8 dimensions"));
    EXPECT_THAT(parse(fmt::format(R"({{"{}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}})", std::string(1025, 'n')), 1), HasError(Code::unsupported, "1024"));
    EXPECT_OK(parse(fmt::format(R"({{"{}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}})", std::string(1024, 'n')), 1));
    EXPECT_THAT(parse(R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), HasCode(Code::unsupported));
    EXPECT_THAT(parse(R"({"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), HasCode(Code::unsupported));
}

TEST(SafetensorsReader, EveryTruncationIsRefused) {
    const auto manifest = Manifest::make({{"a", DType::f32, {2, 3}}, {"b", DType::f4, {4}}}).value();
    const Bytes header = make_safetensors_header(manifest, {{"k", "v"}}, 8).value();
    const std::uint64_t file = header.size() + manifest.bytes();
    ASSERT_OK(parse_safetensors_header(header, file, "x"));
    for (std::uint64_t size = 0; size < file; ++size) {
        const auto have = std::span(header).first(std::min<std::size_t>(size, header.size()));
        EXPECT_THAT(parse_safetensors_header(have, size, "x"), HasCode(Code::corrupt)) << size;
    }
}

TEST(SafetensorsReader, EveryFlippedBitIsAnErrorOrAnotherHeader) {
    const auto manifest = Manifest::make({{"a", DType::f32, {2, 3}}, {"b", DType::f4, {4}}}).value();
    const Bytes header = make_safetensors_header(manifest, {{"k", "v"}}, 8).value();
    for (std::size_t at = 0; at < header.size() * 8; ++at) {
        Bytes flipped = header;
        flipped[at / 8] ^= static_cast<std::byte>(1U << at % 8);
        const auto parsed = parse_safetensors_header(flipped, header.size() + manifest.bytes(), "x");
        if (!parsed.has_value()) {
            const Code code = parsed.error().code;
            // A shorter length makes the header that is given too long.
            EXPECT_TRUE(code == Code::corrupt || code == Code::unsupported || (at < 64 && code == Code::invalid_argument)) << parsed.error().to_string();
        } else {
            EXPECT_EQ(parsed->manifest.bytes(), manifest.bytes());
        }
    }
}

TEST(SafetensorsWriter, PadsToFourKibibytes) {
    const auto manifest = catalogue_manifest("qwen2.5-0.5b").value();
    const Bytes header = make_safetensors_header(manifest, {{"format", "pt"}}).value();
    EXPECT_EQ(header.size() % 4096, 0U);
    const auto parsed = parse_safetensors_header(header, header.size() + manifest.bytes(), "x").value();
    EXPECT_EQ(parsed.manifest, manifest);
    EXPECT_EQ(parsed.header_bytes, header.size());
    EXPECT_EQ(parsed.data_bytes, manifest.bytes());
    EXPECT_EQ(parsed.metadata, (SafetensorsMetadata{{"format", "pt"}}));
    EXPECT_EQ(make_safetensors_header(manifest, {}, 8).value().size() % 8, 0U);
}

TEST(SafetensorsWriter, RefusesWhatCanNotBeWritten) {
    const auto manifest = Manifest::make({{"a", DType::u8, {1}}}).value();
    for (std::uint64_t alignment : {0ULL, 1ULL, 12ULL, 1ULL << 21, 1ULL << 63}) {
        EXPECT_THAT(make_safetensors_header(manifest, {}, alignment), HasError(Code::invalid_argument, "alignment")) << alignment;
    }
    EXPECT_THAT(make_safetensors_header(manifest, {{"k", "\xFF"}}), HasError(Code::invalid_argument, "\"k\""));
    EXPECT_THAT(make_safetensors_header(Manifest::make({{"__metadata__", DType::u8, {1}}}).value(), {}), HasError(Code::invalid_argument, "reserves"));
    EXPECT_THAT(make_safetensors_header(manifest, {{"k", std::string(100'000'000, 'v')}}), HasError(Code::invalid_argument, "limit"));
}

TEST(SafetensorsOrder, KeepsTheOrderUnlessATensorWouldBeMisaligned) {
    const auto order = [](std::vector<TensorSpec> tensors) { return safetensors_order(Manifest::make(std::move(tensors)).value()); };
    using Order = std::vector<std::uint32_t>;
    EXPECT_EQ(order({{"a", DType::u8, {4}}, {"b", DType::f32, {1}}, {"c", DType::bf16, {3}}}), (Order{0, 1, 2}));
    EXPECT_EQ(order({{"a", DType::u8, {3}}, {"b", DType::bf16, {3}}, {"c", DType::f64, {1}}, {"d", DType::bf16, {1}}}), (Order{2, 1, 3, 0}));
    EXPECT_EQ(order({}), Order{});
}

TEST(SafetensorsReader, TwentyThousandTensors) {
    const auto manifest = uniform_manifest(20'000, 48 * 1024).value();
    const Bytes header = make_safetensors_header(manifest, {}).value();
    EXPECT_EQ(parse_safetensors_header(header, header.size() + manifest.bytes(), "x").value().manifest, manifest);
}

}  // namespace
}  // namespace wsync
