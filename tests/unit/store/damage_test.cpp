// Versions and checkpoints on disk that are not what they must be: a clear error, whatever is wrong.
#include "store_fixture.hpp"

#include <sys/stat.h>

namespace wsync {
namespace {

using namespace testing;

struct Damage : StoreFixture {
    Damage() {
        EXPECT_TRUE(is_ok(write(1)));
        path = directory / "policy/v1.1";
    }
    void replace_in_manifest(const std::string& from, const std::string& to) {
        std::string text = read_whole_file(path + "/wsync.json");
        const auto at = text.find(from);
        ASSERT_NE(at, std::string::npos) << from;
        put_text(path + "/wsync.json", text.replace(at, from.size(), to));
    }
    std::string path;
};

TEST_F(Damage, AFlippedByteOfATensorNamesFileTensorAndBlock) {
    const auto stored = open_version(*files, path);
    ASSERT_OK(stored);
    const auto offset = stored->checkpoint.placement.places[1].offset;
    flip_byte(path + "/model.safetensors", offset + 1'100'000);
    EXPECT_OK(open_version(*files, path)) << "opening reads no tensor";
    const auto verified = verify_version(*files, path);
    EXPECT_THAT(verified, HasError(Code::corrupt, "layer.0.weight"));
    EXPECT_THAT(verified, HasError(Code::corrupt, "[374:400, 0:700]"));
    EXPECT_THAT(verified, HasError(Code::corrupt, path + "/model.safetensors"));
}

TEST_F(Damage, AFlippedByteAnywhereElseIsRefusedAtOpening) {
    flip_byte(path + "/model.safetensors", 20);
    EXPECT_THAT(open_version(*files, path), HasCode(Code::corrupt));
    flip_byte(path + "/model.safetensors", 20);
    EXPECT_OK(open_version(*files, path));
    flip_byte(path + "/wsync.digests", 300);
    EXPECT_THAT(open_version(*files, path), HasError(Code::corrupt, "wsync.digests is not what wsync.json says"));
}

// Every byte of the manifest: either refused, or it does not matter (a space).
TEST_F(Damage, EveryByteOfTheManifestCounts) {
    const std::string good = read_whole_file(path + "/wsync.json");
    for (std::size_t i = 0; i < good.size(); ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ 0x01);
        put_text(path + "/wsync.json", bad);
        const auto stored = open_version(*files, path);
        if (!stored) continue;
        // What names the version is believed: nothing in the directory contradicts it.
        auto expected = stored->manifest;
        expected.version = {};
        auto original = decode_version_manifest(good, "wsync.json").value();
        original.version = {};
        EXPECT_EQ(expected, original) << "at byte " << i << ": " << bad.substr(i > 20 ? i - 20 : 0, 40);
    }
}

TEST_F(Damage, ATruncatedManifestIsRefusedAtEveryLength) {
    const std::string good = read_whole_file(path + "/wsync.json");
    for (std::size_t n = 0; n + 2 < good.size(); n += 7) {
        put_text(path + "/wsync.json", good.substr(0, n));
        EXPECT_THAT(open_version(*files, path), HasCode(Code::corrupt)) << n;
    }
}

TEST_F(Damage, TruncatedAndMissingFiles) {
    const std::string weights_file = path + "/model.safetensors";
    ASSERT_EQ(::truncate(weights_file.c_str(), 100'000), 0);
    EXPECT_THAT(open_version(*files, path), HasError(Code::corrupt, weights_file));
    std::filesystem::remove(weights_file);
    EXPECT_THAT(open_version(*files, path), HasError(Code::corrupt, "model.safetensors is missing"));
    std::filesystem::remove(path + "/wsync.digests");
    EXPECT_THAT(open_version(*files, path), HasError(Code::corrupt, "wsync.digests is missing"));
    std::filesystem::remove(path + "/wsync.json");
    EXPECT_THAT(open_version(*files, path), HasError(Code::not_found, "no wsync.json"));
}

TEST_F(Damage, AnotherMajorIsRefusedAndAnotherMinorIsRead) {
    replace_in_manifest("wsync.version/1", "wsync.version/2");
    EXPECT_THAT(open_version(*files, path), HasError(Code::unsupported, "wsync.version/2"));
    replace_in_manifest("wsync.version/2", "wsync.version/1");
    replace_in_manifest("\"minor\": 0", "\"colour\": [1, {}], \"minor\": 0");
    EXPECT_THAT(open_version(*files, path), HasError(Code::corrupt, "unknown key \"colour\""));
    replace_in_manifest("\"minor\": 0", "\"minor\": 3");
    EXPECT_OK(open_version(*files, path));
}

TEST_F(Damage, HostileManifests) {
    const std::string good = read_whole_file(path + "/wsync.json");
    const std::vector<std::pair<std::string, std::string>> changes{
        {"\"model.safetensors\"", "\"../v1.1/model.safetensors\""},
        {"\"model.safetensors\"", "\"/etc/passwd\""},
        {"\"model.safetensors\"", "\"wsync.json\""},
        {"\"wsync.digests\"", "\"model.safetensors\""},
        {"\"complete\": true", "\"complete\": false"},
        {"\"complete\": true", "\"complete\": 1"},
        {"\"epoch\": 1", "\"epoch\": -1"},
        {"\"epoch\": 1", "\"epoch\": 1e3"},
        {"\"epoch\": 1", "\"epoch\": 18446744073709551616"},
        {"\"epoch\": 1", "\"epoch\": 1, \"epoch\": 1"},
        {"\"name\": \"policy\"", "\"name\": \"../policy\""},
        {"\"name\": \"policy\"", "\"name\": null"},
        {"\"files\": [", "\"files\": [[[[[[[["},
        {"\"bytes\": ", "\"bytes\": 1"},
    };
    for (const auto& [from, to] : changes) {
        std::string text = good;
        const auto at = text.find(from);
        ASSERT_NE(at, std::string::npos) << from;
        put_text(path + "/wsync.json", text.replace(at, from.size(), to));
        EXPECT_THAT(open_version(*files, path), HasCode(Code::corrupt)) << from << " -> " << to;
    }
    put_text(path + "/wsync.json", std::string(100'000, '['));
    EXPECT_THAT(open_version(*files, path), HasCode(Code::corrupt));
    UniqueFd fd(::open((path + "/wsync.json").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::ftruncate(fd.get(), 1ll << 40), 0);
    EXPECT_THAT(open_version(*files, path), HasError(Code::corrupt, "can't be right"));
}

TEST_F(Damage, AFifoInPlaceOfAFileDoesNotHang) {
    std::filesystem::remove(path + "/model.safetensors");
    ASSERT_EQ(::mkfifo((path + "/model.safetensors").c_str(), 0600), 0);
    const auto opened = open_version(*files, path);
    EXPECT_FALSE(opened.has_value());
}

TEST(VersionDigestsRecord, IsRefusedAtEveryLength) {
    Weights weights(small_tensors());
    weights.fill(1);
    const auto blocks = digest_shards(weights.layout, 0, weights.placement, weights.regions, default_kernels(), 1).value();
    const Bytes good = encode(VersionDigests{weights.layout, blocks}).value();
    ASSERT_OK(decode_version_digests(good, "wsync.digests"));
    for (std::size_t n = 0; n < good.size(); ++n) {
        EXPECT_FALSE(decode_version_digests(std::span(good).first(n), "wsync.digests").has_value()) << n;
    }
}

}  // namespace
}  // namespace wsync
