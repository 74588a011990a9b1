#include "record_checks.hpp"

#include "store/version_manifest.hpp"
#include "transport/file/file_descriptor.hpp"

namespace wsync {
namespace {

using namespace testing;

Digest digest(std::uint8_t first) {
    Digest d;
    for (std::size_t i = 0; i < d.bytes.size(); ++i) d.bytes[i] = static_cast<std::uint8_t>(first + i);
    return d;
}

VersionManifest manifest() {
    VersionManifest m;
    m.version = {"policy", "run-7", 3, 17, 170, 16, digest(0x10)};
    m.layout_digest = digest(0x20);
    m.content_digest = digest(0x30);
    m.files = {{"model-00001-of-00002.safetensors", 5'000'004'096, digest(0x40)}, {"model-00002-of-00002.safetensors", 4'352, digest(0x50)}};
    m.side_files = {{"wsync.digests", 1'234, digest(0x60)}, {"model.safetensors.index.json", 321, digest(0x70)}};
    return m;
}

VersionDigests digests() {
    return {Manifest::make({{"a", DType::bf16, {2, 3}}, {"b", DType::f32, {}}}).value(), {{0, 1, 2}, {digest(1), digest(2)}}};
}

TEST(VersionGolden, TheManifest) {
    expect_golden_text("store/wsync-1.0.json", encode(manifest()));
    const auto read = decode_version_manifest(golden_bytes("store/wsync-1.0.json"), "wsync.json");
    ASSERT_OK(read);
    EXPECT_EQ(*read, manifest());
}

TEST(VersionGolden, ANewerManifest) {
    const std::string text = golden_bytes("store/wsync-1.0.json");
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string changed = text;
        const auto at = changed.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        return changed.replace(at, from.size(), to);
    };
    const auto newer = decode_version_manifest(with("\"minor\": 0", "\"minor\": 7, \"invented\": {\"later\": [1]}"), "wsync.json");
    ASSERT_OK(newer);
    EXPECT_EQ(*newer, manifest());
    EXPECT_THAT(decode_version_manifest(with("\"minor\": 0", "\"minor\": 0, \"invented\": 1"), "wsync.json"), HasCode(Code::corrupt));
    const auto other = decode_version_manifest(with("wsync.version/1", "wsync.version/2"), "wsync.json");
    EXPECT_THAT(other, HasError(Code::unsupported, "wsync.version/2"));
    EXPECT_THAT(other, HasError(Code::unsupported, "reads wsync.version/1"));
    EXPECT_THAT(decode_version_manifest(with("wsync.version/1", "wsync.sync/1"), "wsync.json"), HasCode(Code::corrupt));
}

TEST(VersionGolden, TheDigests) {
    expect_golden("store/digests-1.0.bin", encode(digests()));
    const std::string bytes = golden_bytes("store/digests-1.0.bin");
    const auto read = decode_version_digests(as_bytes_of(bytes), "wsync.digests");
    ASSERT_OK(read);
    EXPECT_EQ(read->manifest, digests().manifest);
    EXPECT_EQ(read->blocks, digests().blocks);
    const auto decode = [](std::span<const std::byte> any) { return decode_version_digests(any, "wsync.digests"); };
    refuses_another_length(golden_record_bytes("store/digests-1.0.bin"), decode);
    follows_the_version_rule(golden_record_bytes("store/digests-1.0.bin"), 0, decode);
}

TEST(VersionGolden, TheDescriptorOfAFile) {
    file_transport::FileIdentity identity;
    identity.boot_id = "01234567-89ab-cdef-0123-456789abcdef";
    identity.host = "trainer-1";
    identity.path = "/models/policy/v3.17/model.safetensors";
    identity.device = 0x0801;
    identity.inode = 12'345;
    identity.file_bytes = 1'000'000;
    identity.offset = 4'096;
    identity.bytes = 900'000;
    identity.allow_write = true;
    expect_golden("store/file-descriptor-1.0.bin", file_transport::encode(identity).bytes);
    const std::string bytes = golden_bytes("store/file-descriptor-1.0.bin");
    const auto view = as_bytes_of(bytes);
    const auto read = file_transport::decode({"file", Bytes(view.begin(), view.end())});
    ASSERT_OK(read);
    EXPECT_EQ(*read, identity);
    const auto decode = [](std::span<const std::byte> any) { return file_transport::decode({"file", Bytes(any.begin(), any.end())}); };
    refuses_another_length(golden_record_bytes("store/file-descriptor-1.0.bin"), decode);
    follows_the_version_rule(golden_record_bytes("store/file-descriptor-1.0.bin"), 0, decode);
}

}  // namespace
}  // namespace wsync
