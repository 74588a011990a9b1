#include "store_fixture.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace wsync {
namespace {

using namespace testing;
using Versions = StoreFixture;

std::vector<std::string> names_in(const std::string& path) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
}

std::uint64_t inode_of(const std::string& path) {
    struct stat st {};
    EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
    return st.st_ino;
}

TEST_F(Versions, AreWrittenOpenedAndVerified) {
    const auto written = write(1);
    ASSERT_OK(written);
    EXPECT_EQ(written->path, directory / "policy/v1.1");
    EXPECT_EQ(names_in(written->path), (std::vector<std::string>{"model.safetensors", "wsync.digests", "wsync.json", "wsync.lock"}));
    const auto stored = open_version(*files, written->path);
    ASSERT_OK(stored);
    EXPECT_TRUE(holds(*stored, 1));
    EXPECT_EQ(stored->manifest, written->manifest);
    EXPECT_EQ(stored->manifest.version.step, 10u);
    EXPECT_EQ(stored->manifest.version.digest, stored->manifest.content_digest);
    EXPECT_OK(check(stored->checkpoint.layout, 0, stored->checkpoint.placement));
    std::uint64_t last = 0, total = 0;
    VerifyOptions options;
    options.progress = [&](std::uint64_t done, std::uint64_t all) {
        EXPECT_GT(done, last);
        last = done;
        total = all;
    };
    const auto verified = verify_version(*files, written->path, options);
    ASSERT_OK(verified);
    EXPECT_EQ(verified->bytes, weights.layout.manifest().bytes());
    EXPECT_EQ(last, total);
}

TEST_F(Versions, AreCheckpointsThatOthersCanRead) {
    ASSERT_OK(write(1));
    const auto checkpoint = open_checkpoint(*files, directory / "policy/v1.1");
    ASSERT_OK(checkpoint);
    EXPECT_EQ(checkpoint->layout.manifest().size(), weights.layout.manifest().size());
    EXPECT_EQ(checkpoint->metadata.at("format"), "pt");
    // Byte for byte, by plain reading.
    const std::string text = read_whole_file(checkpoint->files[0]);
    const auto shards = checkpoint->layout.shards_of(0);
    for (std::size_t s = 0; s < shards.size(); ++s) {
        const auto& name = checkpoint->layout.manifest()[shards[s].tensor].name;
        const auto ours = weights.layout.shards_of(0);
        const auto same = std::find_if(ours.begin(), ours.end(), [&](const Shard& o) { return weights.layout.manifest()[o.tensor].name == name; });
        ASSERT_NE(same, ours.end());
        const auto bytes = weights.tensor(static_cast<std::size_t>(same - ours.begin()));
        EXPECT_EQ(text.compare(checkpoint->placement.places[s].offset, bytes.size(), reinterpret_cast<const char*>(bytes.data()), bytes.size()), 0) << name;
    }
}

TEST_F(Versions, LargerThanALimitAreCutIntoFilesWithAnIndex) {
    auto o = options(1);
    o.shard_bytes = 1 << 20;
    weights.fill(1);
    const auto written = write_version(*files, o, weights.content());
    ASSERT_OK(written);
    ASSERT_EQ(written->manifest.files.size(), 3u);
    EXPECT_EQ(written->manifest.files[1].name, "model-00002-of-00003.safetensors");
    EXPECT_TRUE(std::filesystem::exists(written->path + "/model.safetensors.index.json"));
    const auto stored = open_version(*files, written->path);
    ASSERT_OK(stored);
    EXPECT_TRUE(holds(*stored, 1));
    EXPECT_OK(verify_version(*files, written->path));
    EXPECT_OK(open_checkpoint(*files, written->path));
}

TEST_F(Versions, WhateverThePhaseOfTheSlab) {
    for (const std::uint64_t alignment : {1ull, 64ull, 4096ull}) {
        for (const std::uint64_t shift : {0ull, 4ull, 4096ull}) {
            TemporaryDirectory here;
            Weights odd(small_tensors(), alignment, shift);
            odd.fill(5);
            auto o = options(1);
            o.root = here.path();
            ASSERT_OK(write_version(*files, o, odd.content()));
            ASSERT_OK(verify_version(*files, here / "policy/v1.1"));
            const auto stored = open_version(*files, here / "policy/v1.1");
            ASSERT_OK(stored);
            const auto expected = digest_shards(odd.layout, 0, odd.placement, odd.regions, default_kernels(), 1);
            EXPECT_EQ(stored->digests, *expected) << alignment << " " << shift;
        }
    }
}

TEST_F(Versions, OnTmpfsAndWithPlainCalls) {
    TemporaryDirectory memory("/dev/shm");
    const auto plain = make_file_system(nullptr);
    for (FileSystem* each : {files.get(), plain.get()}) {
        for (const std::uint64_t number : {1u, 2u, 3u}) {
            auto o = options(number);
            o.root = memory / (each == plain.get() ? "a" : "b");
            o.recycle = true;
            o.keep = 1;
            weights.fill(number);
            ASSERT_OK(write_version(*each, o, weights.content()));
            ASSERT_OK(verify_version(*each, o.root + "/policy/" + directory_name({1, number})));
        }
    }
}

TEST_F(Versions, GivenDigestsAreCompared) {
    weights.fill(1);
    auto expected = digest_shards(weights.layout, 0, weights.placement, weights.regions, default_kernels(), 1).value();
    auto content = weights.content();
    content.expected = &expected;
    ASSERT_OK(write_version(*files, options(1), content));
    weights.tensor(1)[123] ^= std::byte{1};
    const auto torn = write_version(*files, options(2), content);
    EXPECT_THAT(torn, HasError(Code::corrupt, "tensor \"layer.0.weight\""));
    EXPECT_EQ(names_in(directory / "policy"), (std::vector<std::string>{"v1.1"})) << "the failed write left something behind";
}

TEST_F(Versions, AreWrittenOnce) {
    ASSERT_OK(write(1));
    EXPECT_THAT(write(1), HasError(Code::invalid_argument, "there already"));
    EXPECT_OK(verify_version(*files, directory / "policy/v1.1"));
}

TEST_F(Versions, RefuseWhatCantBeWritten) {
    auto o = options(1);
    o.version.name = "../policy";
    EXPECT_THAT(write_version(*files, o, weights.content()), HasCode(Code::invalid_argument));
    o = options(1);
    o.extra_files.push_back({"wsync.json", {}});
    EXPECT_THAT(write_version(*files, o, weights.content()), HasError(Code::invalid_argument, "extra file"));
    o.extra_files = {{"a/b", {}}};
    EXPECT_THAT(write_version(*files, o, weights.content()), HasError(Code::invalid_argument, "extra file"));
    const auto two = Layout::replicated(weights.layout.manifest(), 2).value();
    VersionContent content = weights.content();
    content.layout = &two;
    EXPECT_THAT(write_version(*files, options(1), content), HasCode(Code::unsupported));
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST_F(Versions, ExtraFilesTravelAndAreProved) {
    auto o = options(1);
    const std::string_view config = "{\"model_type\": \"llama\"}";
    const auto bytes = as_bytes_of(config);
    o.extra_files.push_back({"config.json", Bytes(bytes.begin(), bytes.end())});
    ASSERT_OK(write_version(*files, o, weights.content()));
    EXPECT_EQ(read_whole_file(directory / "policy/v1.1/config.json"), config);
    flip_byte(directory / "policy/v1.1/config.json", 3);
    EXPECT_THAT(open_version(*files, directory / "policy/v1.1"), HasError(Code::corrupt, "config.json is not what wsync.json says"));
}

TEST_F(Versions, TheOldestGoAndTheNewestStay) {
    for (std::uint64_t n = 1; n <= 4; ++n) ASSERT_OK(write(n));
    EXPECT_EQ(names_in(directory / "policy"), (std::vector<std::string>{"v1.3", "v1.4"}));
    weights.fill(9);
    auto all = options(5);
    all.keep = 0;
    ASSERT_OK(write_version(*files, all, weights.content()));
    EXPECT_EQ(names_in(directory / "policy").size(), 3u);
}

TEST_F(Versions, APinnedOneIsNeverRemovedNorOverwritten) {
    ASSERT_OK(write(1));
    auto reader = open_version(*files, directory / "policy/v1.1");
    ASSERT_OK(reader);
    for (std::uint64_t n = 2; n <= 5; ++n) {
        auto o = options(n);
        o.recycle = n % 2 == 0;
        weights.fill(n);
        const auto written = write_version(*files, o, weights.content());
        ASSERT_OK(written);
        if (n > 2) {
            ASSERT_EQ(written->notes.size(), 1u);
            EXPECT_NE(written->notes[0].find("v1.1 stays"), std::string::npos);
        }
    }
    EXPECT_OK(verify_version(*files, directory / "policy/v1.1"));
    EXPECT_TRUE(holds(*reader, 1));
    { const auto gone = *std::move(reader); }
    ASSERT_OK(write(6));
    EXPECT_FALSE(std::filesystem::exists(directory / "policy/v1.1"));
}

TEST_F(Versions, RetiredFilesAreUsedAgainInPlace) {
    auto o = options(1);
    o.recycle = true;
    o.keep = 1;
    std::vector<std::uint64_t> inodes;
    for (std::uint64_t n = 1; n <= 5; ++n) {
        o.version.number = n;
        weights.fill(n);
        const auto written = write_version(*files, o, weights.content());
        ASSERT_OK(written);
        EXPECT_EQ(written->recycled, n >= 3) << n;
        inodes.push_back(inode_of(written->path + "/model.safetensors"));
        ASSERT_OK(verify_version(*files, written->path));
        EXPECT_TRUE(holds(*open_version(*files, written->path), n));
    }
    EXPECT_EQ(inodes[4], inodes[2]);
    EXPECT_EQ(inodes[2], inodes[0]);
    // A smaller model over a larger one's files, and back.
    Weights small({{"only", DType::f32, {10}}});
    o.version.number = 6;
    ASSERT_OK(write_version(*files, o, small.content()));
    ASSERT_OK(verify_version(*files, directory / "policy/v1.6"));
    EXPECT_LT(std::filesystem::file_size(directory / "policy/v1.6/model.safetensors"), 10'000u);
    for (std::uint64_t n = 7; n <= 9; ++n) {
        o.version.number = n;
        weights.fill(n);
        ASSERT_OK(write_version(*files, o, weights.content()));
        ASSERT_OK(verify_version(*files, directory / ("policy/v1." + std::to_string(n))));
    }
}

TEST_F(Versions, LeftoversOfDeadWritersGoAndThoseOfLivingOnesStay) {
    ASSERT_OK(write(1));
    const std::string dead = directory / "policy/.tmp-v1.2-dead", alive = directory / "policy/.tmp-v1.2-alive";
    for (const auto& path : {dead, alive}) {
        std::filesystem::create_directory(path);
        put_text(path + "/wsync.lock", "");
        put_text(path + "/model.safetensors", "half");
    }
    auto lock = Pin::try_exclusive(alive);
    ASSERT_OK(lock);
    ASSERT_TRUE(lock->has_value());
    ASSERT_OK(write(2));
    EXPECT_FALSE(std::filesystem::exists(dead));
    EXPECT_TRUE(std::filesystem::exists(alive + "/model.safetensors"));
}

TEST_F(Versions, TooLittleSpaceIsSaidBeforeTheFirstByte) {
    struct Full : FileSystem {
        explicit Full(FileSystem& real) : below(real) {}
        Status create(const std::string& path, std::optional<std::uint64_t> bytes) override {
            if (bytes.value_or(0) > 0) created = true;
            return below.create(path, bytes);
        }
        Result<std::vector<Digest>> write(const std::string& path, std::span<const FileRange> ranges) override { return below.write(path, ranges); }
        Result<std::vector<Digest>> read(const std::string& path, std::span<const FileRange> ranges) override { return below.read(path, ranges); }
        Status sync(const std::string& path) override { return below.sync(path); }
        Status rename(const std::string& from, const std::string& to) override { return below.rename(from, to); }
        Status remove(const std::string& path) override { return below.remove(path); }
        Result<DirectoryListing> list(const std::string& path) override {
            auto listing = below.list(path);
            if (listing) listing->free_bytes = 1'000'000;
            return listing;
        }
        FileSystem& below;
        bool created = false;
    } full(*files);
    const auto result = write_version(full, options(1), weights.content());
    EXPECT_THAT(result, HasError(Code::resource_exhausted, "1000000 bytes) are free"));
    EXPECT_THAT(result, HasError(Code::resource_exhausted, directory / "policy"));
    EXPECT_FALSE(full.created);
    EXPECT_TRUE(std::filesystem::is_empty(directory / "policy"));
}

TEST_F(Versions, TheLatestIsTheHighestEpochsHighestNumber) {
    EXPECT_THAT(open_latest_version(*files, directory.path(), "policy"), HasCode(Code::not_found));
    EXPECT_EQ(list_versions(*files, directory.path(), "policy")->size(), 0u);
    for (const auto& [epoch, number] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 9}, {1, 10}, {2, 1}}) {
        auto o = options(number, epoch);
        o.keep = 0;
        weights.fill(number);
        ASSERT_OK(write_version(*files, o, weights.content()));
    }
    std::filesystem::create_directory(directory / "policy/v9.9");        // no manifest
    std::filesystem::create_directory(directory / "policy/v01.2");       // not a name that we give
    std::filesystem::copy(directory / "policy/v1.9", directory / "policy/v7.7");  // another version's manifest
    const auto versions = list_versions(*files, directory.path(), "policy");
    ASSERT_OK(versions);
    ASSERT_EQ(versions->size(), 3u);
    EXPECT_EQ((*versions)[1].number, (VersionNumber{1, 10}));
    EXPECT_GT((*versions)[0].bytes, weights.layout.manifest().bytes());
    EXPECT_EQ(open_latest_version(*files, directory.path(), "policy")->manifest.version.epoch, 2u);
    EXPECT_THAT(list_versions(*files, directory.path(), "../x"), HasCode(Code::invalid_argument));
}

TEST_F(Versions, AVersionThatIsBeingRecycledIsUnavailable) {
    ASSERT_OK(write(1));
    auto lock = Pin::try_exclusive(directory / "policy/v1.1");
    ASSERT_TRUE(lock->has_value());
    EXPECT_THAT(open_version(*files, directory / "policy/v1.1"), HasCode(Code::unavailable));
    lock->reset();
    EXPECT_OK(open_version(*files, directory / "policy/v1.1"));
    EXPECT_THAT(open_version(*files, directory / "policy/v1.2"), HasCode(Code::not_found));
}

TEST(VersionPaths, RoundTripAndNothingElse) {
    EXPECT_EQ(directory_name({3, 17}), "v3.17");
    EXPECT_EQ(parse_directory_name("v3.17"), (VersionNumber{3, 17}));
    EXPECT_EQ(parse_directory_name("v0.0"), (VersionNumber{0, 0}));
    for (const char* bad : {"", "v", "v1", "v1.", "v.1", "1.2", "v1.2x", "v01.2", "v1.02", "v-1.2", "v+1.2", "v1.2.3", "v18446744073709551616.1", " v1.2"}) {
        EXPECT_FALSE(parse_directory_name(bad).has_value()) << bad;
    }
    EXPECT_TRUE(is_version_name("policy-7b_v1+x@y.z"));
    for (const char* bad : {"", ".", "..", ".x", "a/b", "a b", "ä"}) EXPECT_FALSE(is_version_name(bad)) << bad;
    EXPECT_FALSE(is_version_name(std::string(129, 'a')));
}

}  // namespace
}  // namespace wsync
