// The bytes of a safetensors header and an index as wsync writes them, so that a recycled file keeps its layout.
#include "format/safetensors.hpp"
#include "format/safetensors_index.hpp"

#include "result_matchers.hpp"

#include <fstream>
#include <iterator>

namespace wsync {
namespace {

std::string golden(const std::string& name) {
    std::ifstream file(std::string(WSYNC_SOURCE_DIR "/tests/golden/format/") + name, std::ios::binary);
    EXPECT_TRUE(file.is_open()) << name;
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Golden, SafetensorsHeader) {
    const auto manifest = Manifest::make({{"model.embed_tokens.weight", DType::bf16, {6, 4}},
                                          {"scale \"quoted\"", DType::f32, {}},
                                          {"empty", DType::i64, {0, 3}},
                                          {"bloß.four", DType::f4, {2, 3, 4}}})
                              .value();
    const std::string text = golden("header.bin");
    const auto bytes = as_bytes_of(text);
    EXPECT_EQ(make_safetensors_header(manifest, {{"format", "pt"}, {"made\nby", "wsync"}}).value(), Bytes(bytes.begin(), bytes.end()));
    const auto parsed = parse_safetensors_header(bytes, bytes.size() + manifest.bytes(), "header.bin").value();
    EXPECT_EQ(parsed.manifest, manifest);
    EXPECT_EQ(parsed.metadata.at("made\nby"), "wsync");
}

TEST(Golden, SafetensorsIndex) {
    const SafetensorsIndex index{1234, {{"b.weight", "model-00002-of-00002.safetensors"}, {"a.weight", "model-00001-of-00002.safetensors"}}};
    EXPECT_EQ(make_safetensors_index(index).value(), golden("model.safetensors.index.json"));
    EXPECT_EQ(parse_safetensors_index(golden("model.safetensors.index.json"), "index").value(), index);
}

}  // namespace
}  // namespace wsync
