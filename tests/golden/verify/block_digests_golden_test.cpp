// The bytes of the digests' record and the digest of a fixed version, as they were first published. A change here is a
// change of format: raise its version.
#include "verify/block_digests.hpp"

#include "result_matchers.hpp"
#include "verify/version_digest.hpp"

#include <fstream>
#include <iterator>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

Bytes golden() {
    std::ifstream file(WSYNC_SOURCE_DIR "/tests/golden/verify/block_digests-1.0.bin", std::ios::binary);
    EXPECT_TRUE(file.is_open());
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = as_bytes_of(text);
    return {bytes.begin(), bytes.end()};
}

Layout layout() {
    return Layout::replicated(Manifest::make({{"w", DType::u8, {3, 700'000}}, {"scale", DType::f32, {}}, {"b", DType::bf16, {5}}}).value()).value();
}

BlockDigests digests() {
    const Placement placement = pack(layout(), 0).value();
    auto bytes = std::make_shared<Bytes>(placement.region_bytes[0]);
    for (std::size_t i = 0; i < bytes->size(); ++i) (*bytes)[i] = static_cast<std::byte>(i * 2654435761U >> 24);
    Region region;
    region.address = bytes->data();
    region.bytes = bytes->size();
    region.owner = bytes;
    return digest_shards(layout(), 0, placement, {&region, 1}, default_kernels(), 1).value();
}

TEST(Golden, BlockDigests) {
    const Bytes bytes = golden();
    EXPECT_EQ(encode(digests()), bytes);
    EXPECT_EQ(decode_block_digests(bytes).value(), digests());
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        EXPECT_THAT(decode_block_digests(std::span(bytes).first(length)), HasCode(Code::corrupt)) << length;
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_THAT(decode_block_digests(longer), HasError(Code::corrupt, "1 bytes too many"));
    // A newer minor may have appended something; a newer major can't be read.
    longer[6] = std::byte{1};
    EXPECT_OK(decode_block_digests(longer));
    longer[4] = std::byte{2};
    EXPECT_THAT(decode_block_digests(longer), HasError(Code::unsupported, "2.1"));
    longer[0] = std::byte{'X'};
    EXPECT_THAT(decode_block_digests(longer), HasCode(Code::corrupt));
}

TEST(Golden, DigestOfAVersion) {
    const auto all = digests();
    EXPECT_EQ(version_digest(layout(), {&all, 1}).value().hex(), "23533391bbd930419bb398f4a3aad775");
}

}  // namespace
}  // namespace wsync
