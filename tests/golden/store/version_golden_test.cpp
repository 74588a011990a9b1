#include "record_checks.hpp"

#include "model/records.hpp"
#include "store/version_manifest.hpp"
#include "store/version_part.hpp"
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
    return {Layout::replicated(Manifest::make({{"a", DType::bf16, {2, 3}}, {"b", DType::f32, {}}}).value()).value(), {{0, 1, 2}, {digest(1), digest(2)}}};
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
    expect_golden("store/digests-1.0.bin", encode(digests()).value());
    const std::string bytes = golden_bytes("store/digests-1.0.bin");
    const auto read = decode_version_digests(as_bytes_of(bytes), "wsync.digests");
    ASSERT_OK(read);
    EXPECT_EQ(read->boxes, digests().boxes);
    EXPECT_EQ(read->blocks, digests().blocks);
    const auto decode = [](std::span<const std::byte> any) { return decode_version_digests(any, "wsync.digests"); };
    refuses_another_length(golden_record_bytes("store/digests-1.0.bin"), decode);
    follows_the_version_rule(golden_record_bytes("store/digests-1.0.bin"), 0, decode, 2);
}

// Of several ranks: the boxes that they held.
TEST(VersionGolden, TheDigestsOfBoxes) {
    const auto tensors = digests().boxes.manifest();
    const auto boxes = Layout::make(tensors, 1, {{0, 0, {{0, 0}, {2, 1}}}, {0, 0, {{0, 1}, {2, 2}}}, {0, 1, {{}, {}}}}, Coverage::full).value();
    const VersionDigests of_boxes{boxes, {{0, 1, 2, 3}, {digest(1), digest(2), digest(3)}}};
    expect_golden("store/digests-2.0.bin", encode(of_boxes).value());
    const auto bytes = golden_record_bytes("store/digests-2.0.bin");
    const auto decode = [](std::span<const std::byte> any) { return decode_version_digests(any, "wsync.digests"); };
    const auto read = decode(bytes);
    ASSERT_OK(read);
    EXPECT_EQ(read->boxes, boxes);
    EXPECT_EQ(read->blocks, of_boxes.blocks);
    refuses_another_length(bytes, decode);
    follows_the_version_rule(bytes, 0, decode, 2);
    // What the one version has, the other has not.
    auto mixed = bytes;
    mixed[4] = std::byte{1};
    EXPECT_THAT(decode(mixed), HasCode(Code::corrupt));
    mixed = golden_record_bytes("store/digests-1.0.bin");
    mixed[4] = std::byte{2};
    EXPECT_THAT(decode(mixed), HasCode(Code::corrupt));
    // A layout of two ranks, or one that does not hold all, is none that a writer leaves.
    for (const auto& other : {Layout::make(tensors, 2, {{0, 0, {{0, 0}, {2, 3}}}, {1, 1, {{}, {}}}}, Coverage::full).value(),
                              Layout::make(tensors, 1, {{0, 0, {{0, 0}, {2, 1}}}}, Coverage::partial).value()}) {
        EXPECT_THAT(decode(encode_version_digests(encode(other), of_boxes.blocks)), HasError(Code::corrupt, "not one rank's that holds all"));
    }
}

TEST(VersionGolden, APart) {
    const VersionPart part{{"policy", "run-7", 3, 17, 170, 16, {}}, 1, 3, digest(0x20), digest(0x30), {{0, 1, 2}, {digest(1), digest(2)}}};
    expect_golden("store/part-1.0.bin", encode(part));
    const auto bytes = golden_record_bytes("store/part-1.0.bin");
    const auto decode = [](std::span<const std::byte> any) { return decode_version_part(any, "wsync.part-1"); };
    const auto read = decode(bytes);
    ASSERT_OK(read);
    EXPECT_EQ(*read, part);
    refuses_another_length(bytes, decode);
    follows_the_version_rule(bytes, 0, decode);
    const std::size_t kinds[] = {0, bytes.size() - encode(part.blocks).size()};
    survives_every_change(bytes, decode, [](const VersionPart& p) { return encode(p); }, kinds);
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
