// The bytes of the model's records, as they were first published. A change here is a change of format: raise its version.
#include "model/records.hpp"

#include "result_matchers.hpp"

#include <fstream>
#include <iterator>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

Bytes golden(const std::string& name) {
    std::ifstream file(std::string(WSYNC_SOURCE_DIR "/tests/golden/model/") + name, std::ios::binary);
    EXPECT_TRUE(file.is_open()) << name;
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = as_bytes_of(text);
    return {bytes.begin(), bytes.end()};
}

Manifest manifest() {
    return Manifest::make({{"model.embed_tokens.weight", DType::bf16, {6, 4}},
                           {"scale", DType::f32, {}},
                           {"empty", DType::i64, {0, 3}},
                           {"bloß.four", DType::f4, {2, 3, 4}}})
        .value();
}

Layout layout() {
    return Layout::make(manifest(), 3,
                        {{0, 0, {{0, 0}, {4, 4}}}, {1, 0, {{4, 0}, {2, 4}}}, {2, 0, {{0, 0}, {4, 4}}}, {0, 1, Box{}}, {1, 3, {{0, 0, 0}, {1, 3, 4}}}, {2, 3, {{1, 0, 0}, {1, 3, 4}}}},
                        Coverage::full)
        .value();
}

Placement placement() { return {{{0, 0}, {1, 4096}, {0, 64}}, {128, std::uint64_t{1} << 40}}; }

template <class Decode>
void refuses_every_truncation(const Bytes& bytes, Decode decode) {
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        EXPECT_THAT(decode(std::span(bytes).first(length)), HasCode(Code::corrupt)) << length << " of " << bytes.size();
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_THAT(decode(std::span<const std::byte>(longer)), HasError(Code::corrupt, "1 bytes too many"));
    // A newer minor may have appended something; a newer major can't be read.
    longer[6] = std::byte{1};
    EXPECT_OK(decode(std::span<const std::byte>(longer)));
    longer[4] = std::byte{2};
    EXPECT_THAT(decode(std::span<const std::byte>(longer)), HasError(Code::unsupported, "2.1"));
    longer[0] = std::byte{'X'};
    EXPECT_THAT(decode(std::span<const std::byte>(longer)), HasCode(Code::corrupt));
}

// Every value of every byte: a value that encodes to those bytes, or an Error.
template <class Decode>
void survives_every_mutation(const Bytes& bytes, Decode decode) {
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (int change = 1; change < 256; ++change) {
            Bytes mutated = bytes;
            mutated[at] ^= static_cast<std::byte>(change);
            const auto decoded = decode(std::span<const std::byte>(mutated));
            if (!decoded.has_value()) {
                const Code code = decoded.error().code;
                ASSERT_TRUE(code == Code::corrupt || code == Code::unsupported) << decoded.error().to_string();
            } else {
                Bytes again = encode(*decoded);
                // The minor is that of the reader.
                for (std::size_t minor : {6U, 7U, 18U, 19U}) {
                    if (minor < again.size() && (minor < 8 || again[0] == bytes[0])) again[minor] = mutated[minor];
                }
                ASSERT_EQ(again, mutated) << "byte " << at;
            }
        }
    }
}

TEST(Golden, Manifest) {
    const Bytes bytes = golden("manifest-1.0.bin");
    EXPECT_EQ(encode(manifest()), bytes);
    EXPECT_EQ(decode_manifest(bytes).value(), manifest());
    EXPECT_EQ(manifest().digest(), digest_of(bytes));
    refuses_every_truncation(bytes, decode_manifest);
    survives_every_mutation(bytes, decode_manifest);
}

TEST(Golden, Layout) {
    const Bytes bytes = golden("layout-1.0.bin");
    EXPECT_EQ(encode(layout()), bytes);
    EXPECT_EQ(decode_layout(bytes).value().shards(), layout().shards());
    EXPECT_EQ(layout().digest(), digest_of(bytes));
    refuses_every_truncation(bytes, decode_layout);
    survives_every_mutation(bytes, decode_layout);
}

TEST(Golden, Placement) {
    const Bytes bytes = golden("placement-1.0.bin");
    EXPECT_EQ(encode(placement()), bytes);
    EXPECT_EQ(decode_placement(bytes).value(), placement());
    refuses_every_truncation(bytes, decode_placement);
    survives_every_mutation(bytes, decode_placement);
}

TEST(Hostile, CountsThatNothingBacks) {
    for (auto& [bytes, at] : std::vector<std::pair<Bytes, std::size_t>>{{encode(manifest()), 8}, {encode(placement()), 8}}) {
        Bytes huge = bytes;
        for (std::size_t i = 0; i < 4; ++i) huge[at + i] = std::byte{0xFF};
        EXPECT_THAT(decode_manifest(huge), HasCode(Code::corrupt));
        EXPECT_THAT(decode_placement(huge), HasCode(Code::corrupt));
    }
}

TEST(Hostile, ShardsOutOfOrderAreNotCanonical) {
    const auto two = Layout::replicated(Manifest::make({{"a", DType::u8, {1}}, {"b", DType::u8, {1}}}).value()).value();
    Bytes bytes = encode(two);
    // Two shards of 24 bytes at the end.
    std::swap_ranges(bytes.end() - 48, bytes.end() - 24, bytes.end() - 24);
    EXPECT_THAT(decode_layout(bytes), HasError(Code::corrupt, "canonical"));
}

}  // namespace
}  // namespace wsync
