// Several ranks write one version: one checkpoint for stock loaders, each byte written once, visible when all have written.
#include "group_fixture.hpp"

#include "store/checkpoint.hpp"
#include "store/version_part.hpp"

#include <thread>

namespace wsync {
namespace {

using namespace testing;

struct GroupWriter : GroupFixture {};

TEST_F(GroupWriter, MakesOneCheckpointOfAnyCut) {
    std::uint64_t number = 0;
    for (const auto& [name, layout] : cuts()) {
        SCOPED_TRACE(name);
        ++number;
        Group group(*files, layout, name);
        std::uint64_t written = 0;
        for (std::uint32_t rank = layout.ranks(); rank-- > 0;) {
            const auto part = group.write(rank, options(number), number);
            ASSERT_OK(part);
            EXPECT_EQ(part->path, directory / "policy/v1." + std::to_string(number));
            written += part->bytes;
            EXPECT_THAT(open_version(*files, part->path), HasCode(Code::not_found)) << "seen before it was whole";
        }
        EXPECT_EQ(written, layout.manifest().bytes()) << "each byte once";
        const auto committed = group.commit(0);
        ASSERT_OK(committed);
        EXPECT_TRUE(committed->here);
        for (std::uint32_t rank = 1; rank < layout.ranks(); ++rank) {
            const auto again = group.commit(rank);
            ASSERT_OK(again);
            EXPECT_FALSE(again->here);
        }
        ASSERT_OK(verify_version(*files, committed->path));
        EXPECT_TRUE(holds_value(committed->path, layout.manifest(), number));
        EXPECT_THAT(entry_names(committed->path), ::testing::ElementsAre("model.safetensors", "wsync.digests", "wsync.json", "wsync.lock"));
        const auto stored = open_version(*files, committed->path);
        ASSERT_OK(stored);
        EXPECT_EQ(stored->manifest.content_digest, stored->manifest.version.digest);
        EXPECT_EQ(stored->boxes->manifest(), layout.manifest());
    }
}

TEST_F(GroupWriter, AFlippedByteOfAnyBoxIsFound) {
    const auto layout = cuts().back().second;
    Group group(*files, layout, "g");
    ASSERT_NO_FATAL_FAILURE(group.write_all(options(1), 1));
    const auto committed = group.commit(0);
    ASSERT_OK(committed);
    const auto stored = open_version(*files, committed->path);
    ASSERT_OK(stored);
    for (std::size_t s = 0; s < stored->boxes->shards().size(); ++s) {
        const auto block = find_block(*stored, static_cast<std::uint32_t>(s), 0);
        flip_byte(stored->checkpoint.files[block.file], block.offset);
        const auto& tensor = layout.manifest()[stored->boxes->shards()[s].tensor];
        EXPECT_THAT(verify_version(*files, committed->path), HasError(Code::corrupt, tensor.name));
        flip_byte(stored->checkpoint.files[block.file], block.offset);
    }
    EXPECT_OK(verify_version(*files, committed->path));
}

TEST_F(GroupWriter, ManyVersionsRecycleTheirFiles) {
    const auto layout = cuts().front().second;
    Group group(*files, layout, "g");
    auto o = options(1);
    o.recycle = true;
    o.keep = 1;
    o.shard_bytes = 200'000;
    bool recycled = false;
    for (std::uint64_t number = 1; number <= 5; ++number) {
        o.version = options(number).version;
        for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) {
            const auto part = group.write((rank + number) % layout.ranks(), o, number);
            ASSERT_OK(part);
            recycled = recycled || part->recycled;
        }
        const auto committed = group.commit(static_cast<std::uint32_t>(number % layout.ranks()));
        ASSERT_OK(committed);
        ASSERT_OK(retire_versions(*files, directory / "policy", o.keep, o.recycle));
        ASSERT_OK(verify_version(*files, committed->path));
        EXPECT_TRUE(holds_value(committed->path, layout.manifest(), number));
    }
    EXPECT_TRUE(recycled);
}

TEST_F(GroupWriter, AllAtOnce) {
    const auto layout = cuts().front().second;
    for (std::uint64_t number = 1; number <= 20; ++number) {
        // Each round with ranks that have never seen the folder, and the leftovers of a group that died.
        const std::string root = directory / ("root" + std::to_string(number));
        auto o = options(number);
        o.root = root;
        std::filesystem::create_directories(root + "/policy/.tmp-v1.0-dead");
        put_text(root + "/policy/.tmp-v1.0-dead/wsync.lock", "");
        Group group(*files, layout, "g");
        std::vector<std::thread> threads;
        std::atomic<int> here{0}, failed{0};
        for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) {
            threads.emplace_back([&, rank] {
                const auto part = group.write(rank, o, number);
                if (!part) {
                    ADD_FAILURE() << part.error().to_string();
                    ++failed;
                    return;
                }
                const auto committed = group.writers[rank]->commit({}, {}, std::chrono::seconds(10));
                if (!committed) {
                    ADD_FAILURE() << committed.error().to_string();
                    ++failed;
                } else if (committed->here) {
                    ++here;
                }
            });
        }
        for (auto& thread : threads) thread.join();
        ASSERT_EQ(failed, 0);
        EXPECT_EQ(here, 1);
        EXPECT_TRUE(holds_value(root + "/policy/v1." + std::to_string(number), layout.manifest(), number));
        EXPECT_EQ(entry_names(root + "/policy").size(), 1u);
    }
}

TEST_F(GroupWriter, WaitsForAll) {
    const auto layout = cuts().front().second;
    Group group(*files, layout, "g");
    for (std::uint32_t rank = 0; rank < layout.ranks(); ++rank) {
        if (rank != 1) {
            ASSERT_OK(group.write(rank, options(1), 1));
        }
    }
    EXPECT_THAT(group.commit(0), HasError(Code::unavailable, "rank 1 has not written its part"));
    EXPECT_TRUE(list_versions(*files, directory.path(), "policy")->empty());
    ASSERT_OK(group.write(1, options(1), 1));
    EXPECT_OK(group.commit(0));
}

TEST_F(GroupWriter, RefusesPartsThatDoNotBelongTogether) {
    const auto layout = Layout::replicated(model, 2).value();
    {
        Group group(*files, layout, "replicas");
        ASSERT_OK(group.write(0, options(1), 1));
        ASSERT_OK(group.write(1, options(1), 2));  // other bytes
        EXPECT_THAT(group.commit(0), HasError(Code::corrupt, "ranks 0 and 1 hold replicas that differ"));
        ASSERT_OK(group.write(1, options(1), 1));  // it tries again
        EXPECT_OK(group.commit(0));
    }
    {
        Group group(*files, layout, "files");
        ASSERT_OK(group.write(0, options(2), 1));
        auto o = options(2);
        o.metadata["another"] = "one";
        ASSERT_OK(group.write(1, o, 1));
        EXPECT_THAT(group.commit(0), HasError(Code::invalid_argument, "cuts the tensors into other files"));
    }
    {
        Group group(*files, layout, "steps");
        ASSERT_OK(group.write(0, options(3), 1));
        auto o = options(3);
        o.version.step = 7;
        ASSERT_OK(group.write(1, o, 1));
        EXPECT_THAT(group.commit(0), HasError(Code::invalid_argument, "with step 7"));
    }
    {
        Group group(*files, layout, "lists");
        ASSERT_NO_FATAL_FAILURE(group.write_all(options(4), 1));
        const std::vector<Digest> lists(2);
        EXPECT_THAT(group.writers[0]->commit({}, lists, Deadline::now()), HasError(Code::corrupt, "holds other digests than rank 0 published"));
    }
    EXPECT_EQ(list_versions(*files, directory.path(), "policy")->size(), 1u);
    EXPECT_THAT(entry_names(directory / "policy"), ::testing::ElementsAre(".tmp-v1.4-lists", "v1.1")) << "each group removed what the one before left";
}

TEST_F(GroupWriter, AChangedSlabIsSeenAndLeavesNothing) {
    const auto layout = cuts().back().second;
    Group group(*files, layout, "g");
    auto& rank = *group.ranks[0];
    rank.fill(1);
    const auto expected = digest_shards(layout, 0, rank.placement, rank.regions, default_kernels(), 1).value();
    auto content = rank.content();
    content.expected = &expected;
    rank.buffer->bytes()[rank.placement.places.back().offset] ^= std::byte{1};
    const auto written = group.writers[0]->write(options(1), content);
    EXPECT_THAT(written, HasError(Code::corrupt, "changed after it had been digested"));
    EXPECT_THAT(entry_names(directory / "policy"), ::testing::IsEmpty());
}

TEST_F(GroupWriter, WhatADeadGroupLeftGoesWithTheNextVersion) {
    const auto layout = cuts().front().second;
    {
        Group dead(*files, layout, "dead");
        ASSERT_OK(dead.write(0, options(1), 1));
    }
    EXPECT_TRUE(std::filesystem::exists(shared_workspace_path(directory / "policy", {1, 1}, "dead") + "/wsync.part-0"));
    Group group(*files, layout, "g");
    ASSERT_NO_FATAL_FAILURE(group.write_all(options(1, 2), 2));
    ASSERT_OK(group.commit(2));
    EXPECT_THAT(entry_names(directory / "policy"), ::testing::ElementsAre("v2.1"));
    EXPECT_TRUE(holds_value(directory / "policy/v2.1", layout.manifest(), 2));
}

TEST_F(GroupWriter, ARankMayGoOnceItsPartIsThere) {
    const auto layout = cuts().front().second;
    Group group(*files, layout, "g");
    ASSERT_OK(group.write(0, options(1), 1));
    group.writers[0].reset();
    group.ranks[1]->fill(1);
    auto content = group.ranks[1]->content();
    auto expected = digest_shards(layout, 1, content.placement[0], content.regions, default_kernels(), 1).value();
    expected.digests[0].bytes[0] ^= 1;
    content.expected = &expected;
    EXPECT_THAT(group.writers[1]->write(options(1), content), HasCode(Code::corrupt)) << "a try that fails takes nobody else's part with it";
    ASSERT_OK(group.write(1, options(1), 1));
    ASSERT_OK(group.write(2, options(1), 1));
    ASSERT_OK(group.commit(2));
    EXPECT_TRUE(holds_value(directory / "policy/v1.1", layout.manifest(), 1));
}

TEST_F(GroupWriter, AFullDiskIsKnownBeforeTheFirstByte) {
    struct Full final : FileSystem {
        explicit Full(FileSystem& r) : real(r) {}
        Status create(const std::string& p, std::optional<std::uint64_t> b) override { return real.create(p, b); }
        Result<std::vector<Digest>> write(const std::string& p, std::span<const FileRange> r) override { return ++writes, real.write(p, r); }
        Result<std::vector<Digest>> read(const std::string& p, std::span<const FileRange> r) override { return real.read(p, r); }
        Status sync(const std::string& p) override { return real.sync(p); }
        Status rename(const std::string& a, const std::string& b) override { return real.rename(a, b); }
        Status remove(const std::string& p) override { return real.remove(p); }
        Result<DirectoryListing> list(const std::string& p) override {
            auto listing = real.list(p);
            if (listing) listing->free_bytes = 1000;
            return listing;
        }
        FileSystem& real;
        int writes = 0;
    } full(*files);
    const auto layout = cuts().front().second;
    Group group(full, layout, "g");
    EXPECT_THAT(group.write(1, options(1), 1), HasError(Code::resource_exhausted, directory / "policy"));
    EXPECT_EQ(full.writes, 0);
    EXPECT_THAT(entry_names(directory / "policy"), ::testing::IsEmpty());
}

}  // namespace
}  // namespace wsync
