// Three trainer ranks write one version to disk, two receivers read their halves of it; a rank dies at any moment.
#include "actors.hpp"

#include "wsync/model/mesh.hpp"

#include <csignal>

namespace wsync {
namespace {

using namespace wsync::testing;

constexpr std::uint32_t kRanks = 3;

class GroupKills : public ::testing::Test {
protected:
    Trainer trainer(std::uint32_t rank, const std::string& run) {
        return Trainer(place_, {.publisher =
                                    [this, rank, run](PublisherOptions& options) {
                                        MeshOptions rows;
                                        rows.fully_sharded = kRanks;
                                        options.source = make_mesh_layout(small_model(), rows).value();
                                        options.rank = rank;
                                        options.world = kRanks;
                                        options.run = run;
                                        options.version_directory = place_.versions;
                                        options.keep_versions = 1;
                                    },
                                .session = {}});
    }
    ReceiverProcess receiver(std::uint32_t rank) {
        return ReceiverProcess(place_, {.use = Use::copy,
                                        .transport = "disk",
                                        .receiver =
                                            [rank](ReceiverOptions& options) {
                                                MeshOptions halves;
                                                halves.tensor_parallel = 2;
                                                options.sink.wanted = make_mesh_layout(small_model(), halves).value();
                                                options.sink.rank = rank;
                                            },
                                        .session = {}});
    }
    [[nodiscard]] std::vector<std::string> on_disk() const { return names_in(place_.versions + "/policy"); }

    Place place_;
};

TEST_F(GroupKills, in_mid_write) {
    constexpr int kMoments = 10;
    const auto shared_before = shared_names();
    std::vector<ReceiverProcess> engines;
    for (std::uint32_t rank = 0; rank < 2; ++rank) engines.push_back(receiver(rank));
    std::uint64_t value = 0;
    int unseen = 0;
    std::chrono::microseconds whole{0};
    for (int moment = 0; moment < kMoments; ++moment) {
        SCOPED_TRACE(moment);
        const auto victim = static_cast<std::uint32_t>(moment) % kRanks;
        std::vector<Trainer> ranks;
        for (std::uint32_t rank = 0; rank < kRanks; ++rank) ranks.push_back(trainer(rank, "run-" + std::to_string(moment)));
        for (auto& rank : ranks) ASSERT_OK(rank.process().send({{"do", "open"}}));  // they open together
        for (auto& rank : ranks) ASSERT_OK(rank.process().receive(kPatience));
        ++value;
        const auto begin = Deadline::clock::now();
        for (auto& rank : ranks) ASSERT_OK(rank.step(value, value));
        whole = std::chrono::duration_cast<std::chrono::microseconds>(Deadline::clock::now() - begin) / kRanks;
        for (auto& engine : engines) {
            ASSERT_OK(engine.sync());
            EXPECT_OK(engine.serves(value));
        }
        // The next version, all at once; one of them dies on its way.
        ++value;
        const auto dies_after = whole * (moment + 1) / kMoments;
        for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
            Json message{{"do", "step"}, {"value", value}, {"step", value}};
            if (rank == victim) message["die_us"] = dies_after.count();
            ASSERT_OK(ranks[rank].process().send(message));
        }
        (void)ranks[victim].process().receive(kPatience);
        ranks[victim].process().signal(SIGKILL);
        ASSERT_EQ(ranks[victim].process().join(kPatience).value(), 128 + SIGKILL);
        for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
            if (rank != victim) {
                EXPECT_OK(ranks[rank].process().receive(kPatience));
            }
        }
        // Old or new, the same for both.
        std::vector<std::string> versions;
        for (auto& engine : engines) {
            const auto synced = engine.sync(50ms);
            const auto serves = engine.serves(synced ? value : value - 1);
            ASSERT_OK(serves);
            versions.push_back(*serves);
        }
        EXPECT_EQ(versions[0], versions[1]);
        if (versions[0].find(".1+") != std::string::npos) ++unseen;
    }
    EXPECT_GT(unseen, 0);
    // The next trainers are followed, and what the dead left is gone.
    std::vector<Trainer> ranks;
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) ranks.push_back(trainer(rank, "last"));
    for (auto& rank : ranks) ASSERT_OK(rank.process().send({{"do", "open"}}));
    for (auto& rank : ranks) ASSERT_OK(rank.process().receive(kPatience));
    for (int i = 0; i < 3; ++i) {
        ++value;
        for (auto& rank : ranks) ASSERT_OK(rank.step(value, value));
        for (auto& engine : engines) {
            ASSERT_OK(engine.sync());
            EXPECT_OK(engine.serves(value));
        }
    }
    const auto left = on_disk();
    EXPECT_LE(left.size(), 3u) << ::testing::PrintToString(left);
    EXPECT_EQ(shared_names(), shared_before);
}


}  // namespace
}  // namespace wsync
