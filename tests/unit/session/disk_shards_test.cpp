// Several ranks publish to one version's directory, and receivers read the boxes that they want from it.
#include "result_matchers.hpp"
#include "temporary_directory.hpp"
#include "weights.hpp"

#include "wsync/model/mesh.hpp"

#include <filesystem>
#include <fstream>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;
using testing::holds_version;
using testing::publish_version;
using testing::TemporaryDirectory;

class DiskShards : public ::testing::Test {
protected:
    Session open() {
        SessionOptions options;
        options.control = "dir:" + scratch_.path() + "/control";
        options.socket_directory = scratch_.path() + "/s";
        return Session::open(options).value();
    }
    std::vector<Publisher> publishers(const Layout& source) {
        std::vector<Publisher> all;
        ++runs_;
        for (std::uint32_t rank = 0; rank < source.ranks(); ++rank) {
            PublisherOptions options;
            options.name = "policy";
            options.source = source;
            options.rank = rank;
            options.world = source.ranks();
            options.run = "job-" + std::to_string(runs_);
            options.huge_pages = false;
            options.version_directory = versions_;
            all.push_back(session_.publisher(options).value());
        }
        return all;
    }
    Receiver receiver(std::optional<Layout> wanted, std::uint32_t rank) {
        ReceiverOptions options;
        options.name = "policy";
        options.transports = {"disk"};
        options.sink.wanted = std::move(wanted);
        options.sink.rank = rank;
        options.huge_pages = false;
        return session_.receiver(options).value();
    }
    Layout mesh(std::uint32_t fully_sharded, std::uint32_t tensor_parallel, std::uint32_t replicas = 1) const {
        MeshOptions options;
        options.fully_sharded = fully_sharded;
        options.tensor_parallel = tensor_parallel;
        options.replicas = replicas;
        return make_mesh_layout(model_, options).value();
    }
    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const auto& entry : std::filesystem::directory_iterator(versions_ + "/policy")) all.push_back(entry.path().filename().string());
        std::sort(all.begin(), all.end());
        return all;
    }

    TemporaryDirectory scratch_;
    std::string versions_ = scratch_ / "versions";
    Manifest model_ = testing::small_model();
    Session session_ = open();
    int runs_ = 0;
};

TEST_F(DiskShards, AnyCutIntoAnyOther) {
    const std::vector<Layout> sources{mesh(3, 1), mesh(1, 2), mesh(2, 2, 2), mesh(1, 1)};
    const std::vector<Layout> sinks{mesh(1, 2), mesh(1, 4), mesh(5, 1), mesh(1, 1)};
    std::uint64_t value = 0;
    for (const auto& source : sources) {
        auto ranks = publishers(source);
        ++value;
        for (auto& rank : ranks) ASSERT_OK(publish_version(rank, source, value, value));
        for (const auto& wanted : sinks) {
            for (std::uint32_t rank = 0; rank < wanted.ranks(); ++rank) {
                auto engine = receiver(wanted, rank);
                const auto report = engine.sync({.deadline = 5s});
                ASSERT_OK(report);
                EXPECT_EQ(report->method, "disk");
                EXPECT_EQ(report->verification, Verification::content_at_rest);
                EXPECT_EQ(report->bytes_moved, wanted.bytes_of(rank));
                EXPECT_TRUE(holds_version(engine.pin().tensors(), model_, value, wanted.shards_of(rank).size()));
            }
        }
    }
}

TEST_F(DiskShards, VersionAfterVersion) {
    const auto source = mesh(3, 1), wanted = mesh(1, 2);
    auto ranks = publishers(source);
    auto engine = receiver(wanted, 1);
    for (std::uint64_t value = 1; value <= 6; ++value) {
        // Another rank is the last one each time.
        for (std::size_t i = 0; i < ranks.size(); ++i) ASSERT_OK(publish_version(ranks[(value + i) % ranks.size()], source, value, value));
        const auto report = engine.sync({.deadline = 5s});
        ASSERT_OK(report);
        EXPECT_GT(report->stages[Stage::expose], 0);
        EXPECT_TRUE(holds_version(engine.pin().tensors(), model_, value, wanted.shards_of(1).size()));
    }
    ranks.clear();
    const auto left = names();
    EXPECT_EQ(std::count_if(left.begin(), left.end(), [](const auto& name) { return name.starts_with("v"); }), 2) << "keep_versions";
    EXPECT_LE(left.size(), 3u) << "and a retired one, for its files";
}

TEST_F(DiskShards, AByteFlippedOnDiskIsSeenByThoseWhoReadIt) {
    const auto source = mesh(3, 1), wanted = mesh(1, 2);
    auto ranks = publishers(source);
    for (auto& rank : ranks) ASSERT_OK(publish_version(rank, source, 1, 1));
    const std::string file = versions_ + "/policy/v1.1/model.safetensors";
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(-1, std::ios::end);
    const char last = static_cast<char>(stream.get());
    stream.seekp(-1, std::ios::end);
    stream.put(static_cast<char>(last ^ 1));
    stream.close();
    EXPECT_THAT(receiver(std::nullopt, 0).sync({.deadline = 5s}), HasCode(Code::corrupt));
    std::size_t seen = 0;
    for (std::uint32_t rank = 0; rank < 2; ++rank) seen += receiver(wanted, rank).sync({.deadline = 5s}) ? 0 : 1;
    EXPECT_GE(seen, 1u);
}

TEST_F(DiskShards, NothingIsSeenBeforeTheLastRankAndLittleLeftWithoutIt) {
    const auto source = mesh(3, 1);
    {
        auto ranks = publishers(source);
        ASSERT_OK(publish_version(ranks[0], source, 1, 1));
        ASSERT_OK(publish_version(ranks[2], source, 1, 1));
        EXPECT_THAT(receiver(std::nullopt, 0).sync({.deadline = 50ms}), HasCode(Code::timed_out));
        EXPECT_THAT(ranks[0].begin_write({.deadline = 50ms}), HasError(Code::timed_out, "rank 1 did not publish"));
        EXPECT_EQ(names().size(), 1u);
    }
    auto next = publishers(source);
    for (auto& rank : next) ASSERT_OK(publish_version(rank, source, 2, 2));
    EXPECT_OK(receiver(std::nullopt, 0).sync({.deadline = 5s}));
    EXPECT_EQ(names(), std::vector<std::string>{"v2.1"});
}

// A version is on disk when all ranks saved it; a rank whose disk is full can go on without.
TEST_F(DiskShards, AllSaveOrNone) {
    const auto source = mesh(2, 1);
    auto ranks = publishers(source);
    ASSERT_OK(publish_version(ranks[0], source, 1, 1));
    auto write = ranks[1].begin_write().value();
    ASSERT_OK(ranks[1].publish(std::move(write), {.step = 1, .save = false}));
    EXPECT_THAT(receiver(std::nullopt, 0).sync({.deadline = 50ms}), HasError(Code::unavailable, "was not written to disk"));
    for (auto& rank : ranks) ASSERT_OK(publish_version(rank, source, 2, 2));
    EXPECT_OK(receiver(std::nullopt, 0).sync({.deadline = 5s}));
    EXPECT_EQ(names(), std::vector<std::string>{"v1.2"});
}

}  // namespace
}  // namespace wsync
