#include "format/safetensors_index.hpp"

#include "result_matchers.hpp"

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

Result<SafetensorsIndex> parse(std::string_view text) { return parse_safetensors_index(text, "model.safetensors.index.json"); }

TEST(SafetensorsIndex, ReadsWhatOthersWrite) {
    const auto index = parse(R"({"metadata": {"total_parameters": 7, "total_size": 14, "note": null, "x": "y", "z": -1.5, "w": true},
                                 "weight_map": {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors",
                                                "c": "model-00002-of-00002.safetensors"}, "version": 1})");
    ASSERT_OK(index);
    EXPECT_EQ(index->total_size, std::optional<std::uint64_t>(14));
    EXPECT_EQ(index->weight_map.at("b"), "model-00002-of-00002.safetensors");
    EXPECT_EQ(index->files(), (std::vector<std::string>{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}));
    EXPECT_EQ(parse(R"({"metadata":{"total_size":14.0},"weight_map":{}})").value().total_size, std::optional<std::uint64_t>(14));
    EXPECT_EQ(parse(R"({"weight_map":{}})").value().total_size, std::nullopt);
}

TEST(SafetensorsIndex, RoundTrip) {
    const SafetensorsIndex index{42, {{"a", "x.safetensors"}, {"quoted \" name", "y.safetensors"}}};
    const auto text = make_safetensors_index(index).value();
    EXPECT_EQ(parse(text).value(), index);
    EXPECT_EQ(parse(make_safetensors_index({}).value()).value(), SafetensorsIndex{});
}

TEST(SafetensorsIndex, FileNamesStayInTheirFolder) {
    for (std::string_view bad : {"", ".", "..", "../x", "/etc/passwd", "a/b", "a\\\\b", "..\\u002fx", "x\\u0000y", "x\\ny"}) {
        EXPECT_THAT(parse("{\"weight_map\":{\"t\":\"" + std::string(bad) + "\"}}"), HasError(Code::corrupt, "plain name")) << bad;
    }
    EXPECT_THAT(parse("{\"weight_map\":{\"t\":\"" + std::string(256, 'x') + "\"}}"), HasError(Code::corrupt, "\"t\""));
    EXPECT_THAT(make_safetensors_index({1, {{"t", "../x"}}}), HasError(Code::invalid_argument, "\"t\""));
    EXPECT_THAT(make_safetensors_index({1, {{"", "x"}}}), HasCode(Code::invalid_argument));
    EXPECT_THAT(make_safetensors_index({1, {{"\xFF", "x"}}}), HasCode(Code::invalid_argument));
    EXPECT_TRUE(is_plain_file_name("model-00001-of-00002.safetensors"));
    EXPECT_FALSE(is_plain_file_name("\xFF"));
}

TEST(SafetensorsIndex, RefusesWhatIsNoIndex) {
    EXPECT_THAT(parse("{}"), HasError(Code::corrupt, "weight_map"));
    EXPECT_THAT(parse(""), HasError(Code::corrupt, "syntax error"));
    EXPECT_THAT(parse("[]"), HasCode(Code::corrupt));
    EXPECT_THAT(parse("1"), HasCode(Code::corrupt));
    EXPECT_THAT(parse(R"({"weight_map":[]})"), HasError(Code::corrupt, "weight_map"));
    EXPECT_THAT(parse(R"({"weight_map":{"a":1}})"), HasError(Code::corrupt, "\"a\""));
    EXPECT_THAT(parse(R"({"weight_map":{"a":{}}})"), HasError(Code::corrupt, "\"a\""));
    EXPECT_THAT(parse(R"({"weight_map":{"a":"x","a":"y"}})"), HasError(Code::corrupt, "\"a\" occurs twice"));
    EXPECT_THAT(parse(R"({"weight_map":{},"weight_map":{}})"), HasError(Code::corrupt, "twice"));
    EXPECT_THAT(parse(R"({"metadata":{},"metadata":{},"weight_map":{}})"), HasError(Code::corrupt, "twice"));
    EXPECT_THAT(parse(R"({"metadata":{"total_size":1,"total_size":1},"weight_map":{}})"), HasError(Code::corrupt, "twice"));
    EXPECT_THAT(parse(R"({"metadata":7,"weight_map":{}})"), HasError(Code::corrupt, "metadata"));
    EXPECT_THAT(parse(R"({"metadata":{"deep":[[[]]]},"weight_map":{}})"), HasError(Code::corrupt, "\"deep\""));
    EXPECT_THAT(parse(R"({"other":{"deep":1},"weight_map":{}})"), HasError(Code::corrupt, "\"other\""));
    for (std::string_view bad : {"-1", "1.5", "1e400", "\"1\"", "null", "true", "[]", "{}", "1e300"}) {
        EXPECT_THAT(parse("{\"metadata\":{\"total_size\":" + std::string(bad) + "},\"weight_map\":{}}"), HasCode(Code::corrupt)) << bad;
    }
    EXPECT_THAT(parse(R"({"weight_map":{"":"x"}})"), HasCode(Code::corrupt));
    EXPECT_THAT(parse(R"({"weight_map":{"a\u0000":"x"}})"), HasCode(Code::corrupt));
    EXPECT_THAT(parse(std::string("{\"weight_map\":{}}\0", 18)), HasError(Code::corrupt, "NUL"));
    EXPECT_THAT(parse("{\"weight_map\":{\"\xFF\":\"x\"}}"), HasCode(Code::corrupt));
    EXPECT_THAT(parse(std::string(1'000'000, '[')), HasCode(Code::corrupt));
    EXPECT_THAT(parse(std::string(100'000'001, ' ')), HasError(Code::corrupt, "limit"));
}

}  // namespace
}  // namespace wsync
