#include "store_fixture.hpp"

#include "format/safetensors_index.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

using namespace testing;

struct Checkpoints : StoreFixture {
    // A file of one-byte tensors with these names.
    void put_file(const std::string& name, const std::vector<std::string>& tensors) {
        std::vector<TensorSpec> specs;
        for (const auto& tensor : tensors) specs.push_back({tensor, DType::u8, {1}});
        const Bytes header = make_safetensors_header(Manifest::make(specs).value(), {}, 8).value();
        std::string text(reinterpret_cast<const char*>(header.data()), header.size());
        text.append(tensors.size(), 'x');
        put_text(directory / name, text);
    }
    void put_index(const std::map<std::string, std::string>& map) {
        SafetensorsIndex index;
        index.weight_map = map;
        put_text(directory / std::string(kSafetensorsIndexName), make_safetensors_index(index).value());
    }
};

TEST_F(Checkpoints, AFileByItself) {
    put_file("x.safetensors", {"a", "b"});
    const auto checkpoint = open_checkpoint(*files, directory / "x.safetensors");
    ASSERT_OK(checkpoint);
    EXPECT_EQ(checkpoint->layout.manifest().size(), 2u);
    EXPECT_EQ(checkpoint->regions.at(0).kind, MemoryKind::file);
    EXPECT_EQ(checkpoint->placement.places[1].offset, checkpoint->placement.places[0].offset + 1);
    EXPECT_OK(check(checkpoint->layout, 0, checkpoint->placement));
}

TEST_F(Checkpoints, ADirectoryWithOneFileAndOthersThings) {
    put_file("model.safetensors", {"a"});
    put_text(directory / "config.json", "{}");
    EXPECT_OK(open_checkpoint(*files, directory.path()));
}

TEST_F(Checkpoints, SeveralFilesWithoutAnIndexAreRefused) {
    put_file("model.safetensors", {"a"});
    put_file("old.safetensors", {"a"});
    EXPECT_THAT(open_checkpoint(*files, directory.path()), HasError(Code::invalid_argument, "2 *.safetensors"));
}

TEST_F(Checkpoints, FilesThatTheIndexDoesNotNameAreIgnored) {
    put_file("model-1.safetensors", {"a", "b"});
    put_file("model-2.safetensors", {"c"});
    put_file("stale.safetensors", {"a"});
    put_index({{"a", "model-1.safetensors"}, {"b", "model-1.safetensors"}, {"c", "model-2.safetensors"}});
    const auto checkpoint = open_checkpoint(*files, directory.path());
    ASSERT_OK(checkpoint);
    EXPECT_EQ(checkpoint->files.size(), 2u);
    EXPECT_EQ(checkpoint->layout.manifest().size(), 3u);
}

TEST_F(Checkpoints, TheIndexAndTheFilesMustAgree) {
    put_file("model-1.safetensors", {"a", "b"});
    put_file("model-2.safetensors", {"c"});
    put_index({{"a", "model-1.safetensors"}, {"c", "model-2.safetensors"}});
    EXPECT_THAT(open_checkpoint(*files, directory.path()), HasError(Code::corrupt, "\"b\" is in model-1.safetensors but not in the index"));
    put_index({{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}, {"c", "model-2.safetensors"}});
    EXPECT_THAT(open_checkpoint(*files, directory.path()), HasError(Code::corrupt, "the index says model-2.safetensors"));
    put_index({{"a", "model-1.safetensors"}, {"b", "model-1.safetensors"}, {"c", "model-2.safetensors"}, {"d", "model-2.safetensors"}});
    EXPECT_THAT(open_checkpoint(*files, directory.path()), HasError(Code::corrupt, "\"d\" is in model-2.safetensors, but it is not"));
    put_index({{"a", "model-1.safetensors"}, {"b", "model-1.safetensors"}, {"c", "gone.safetensors"}});
    EXPECT_THAT(open_checkpoint(*files, directory.path()), HasError(Code::not_found, "gone.safetensors"));
    put_text(directory / std::string(kSafetensorsIndexName), R"({"weight_map": {"a": "../model-1.safetensors"}})");
    EXPECT_THAT(open_checkpoint(*files, directory.path()), HasCode(Code::corrupt));
}

// A second change within one tick of the kernel's clock leaves a file's times as they are: both follow at once here.
TEST_F(Checkpoints, WhatChangesAfterItWasOpenedIsSeen) {
    const std::string path = directory / "x.safetensors";
    for (int round = 0; round < 50; ++round) {
        put_file("x.safetensors", {"a", "b"});
        const auto checkpoint = open_checkpoint(*files, path);
        ASSERT_OK(checkpoint);
        ASSERT_OK(check_unchanged(*checkpoint));
        flip_byte(path, checkpoint->regions[0].bytes - 1);
        ASSERT_THAT(check_unchanged(*checkpoint), HasError(Code::corrupt, "was written while it was read"));
    }
}

TEST_F(Checkpoints, WhatIsCutReplacedOrRemovedAfterItWasOpenedIsSeen) {
    const std::string path = directory / "model-2.safetensors";
    put_file("model-1.safetensors", {"a"});
    put_file("model-2.safetensors", {"b", "c"});
    put_index({{"a", "model-1.safetensors"}, {"b", "model-2.safetensors"}, {"c", "model-2.safetensors"}});
    const auto opened = [&] { return open_checkpoint(*files, directory.path()).value(); };
    auto checkpoint = opened();
    const auto bytes = checkpoint.regions[1].bytes;
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(bytes - 1)), 0);
    EXPECT_THAT(check_unchanged(checkpoint), HasError(Code::corrupt, fmt::format("{} went from {} to {} bytes", path, bytes, bytes - 1)));
    put_file("model-2.safetensors", {"b", "c"});
    checkpoint = opened();
    put_file("other", {"b", "c"});
    ASSERT_EQ(::rename((directory / "other").c_str(), path.c_str()), 0);
    EXPECT_THAT(check_unchanged(checkpoint), HasError(Code::corrupt, path + " was replaced"));
    checkpoint = opened();
    ASSERT_EQ(::unlink(path.c_str()), 0);
    EXPECT_THAT(check_unchanged(checkpoint), HasError(Code::corrupt, path + " was removed"));
}

TEST_F(Checkpoints, NothingThere) {
    EXPECT_THAT(open_checkpoint(*files, directory.path()), HasCode(Code::not_found));
    EXPECT_THAT(open_checkpoint(*files, directory / "nowhere"), HasCode(Code::not_found));
    put_text(directory / "empty.safetensors", "");
    EXPECT_THAT(open_checkpoint(*files, directory / "empty.safetensors"), HasCode(Code::corrupt));
    put_text(directory / "large.safetensors", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{", 9));
    EXPECT_THAT(open_checkpoint(*files, directory / "large.safetensors"), HasCode(Code::corrupt));
}

TEST(CheckpointFiles, AreFilledInOrderUpToTheLimit) {
    const auto manifest = Manifest::make({{"a", DType::u8, {60}}, {"b", DType::u8, {50}}, {"c", DType::u8, {200}}, {"d", DType::u8, {0}}, {"e", DType::u8, {100}}}).value();
    const auto plan = plan_checkpoint_files(manifest, {}, 110);
    ASSERT_OK(plan);
    ASSERT_EQ(plan->files.size(), 3u);
    EXPECT_EQ(plan->files[0].tensors, (std::vector<std::uint32_t>{0, 1}));
    EXPECT_EQ(plan->files[1].tensors, (std::vector<std::uint32_t>{2, 3})) << "an empty tensor takes no room";
    EXPECT_EQ(plan->files[2].tensors, (std::vector<std::uint32_t>{4}));
    EXPECT_EQ(plan->files[0].header.size() % 4096, 0u);
    EXPECT_EQ(plan->places[1].offset, plan->files[0].header.size() + 60);
    EXPECT_FALSE(plan->index.empty());
    const auto one = plan_checkpoint_files(manifest, {});
    ASSERT_OK(one);
    EXPECT_EQ(one->files.size(), 1u);
    EXPECT_EQ(one->files[0].name, "model.safetensors");
    EXPECT_TRUE(one->index.empty());
    EXPECT_OK(plan_checkpoint_files(Manifest{}, {})) << "a model without tensors is legal";
}

}  // namespace
}  // namespace wsync
