// Publisher and receivers in one process: every transport, every use, shards to shards, versions one after the other.
#include "result_matchers.hpp"
#include "temporary_directory.hpp"
#include "weights.hpp"

#include "wsync/model/mesh.hpp"
#include "wsync/model/placement.hpp"

#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::box_bytes;
using testing::HasCode;
using testing::HasError;
using testing::holds_version;
using testing::publish_version;
using testing::small_model;
using testing::TemporaryDirectory;

class SessionTest : public ::testing::Test {
protected:
    Session open() {
        SessionOptions options;
        options.control = "dir:" + scratch_.path() + "/control";
        options.socket_directory = scratch_.path() + "/s";
        return Session::open(options).value();
    }
    PublisherOptions publisher_options(unsigned slabs = 2) {
        PublisherOptions options;
        options.name = "policy";
        options.source = layout_;
        options.slabs = slabs;
        options.huge_pages = false;
        return options;
    }
    ReceiverOptions receiver_options(Use use, std::string transport = "shm") {
        ReceiverOptions options;
        options.name = "policy";
        options.use = use;
        options.transports = {std::move(transport)};
        return options;
    }

    TemporaryDirectory scratch_;
    Manifest model_ = small_model();
    Layout layout_ = Layout::replicated(model_).value();
    std::size_t tensors_ = layout_.shards().size();  // an empty tensor has no shard
    StageOptions soon_{.deadline = 5s};
};

TEST_F(SessionTest, CopiesByEachTransport) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    for (const std::string transport : {"shm", "tcp"}) {
        auto receiver = session.receiver(receiver_options(Use::copy, transport)).value();
        for (std::uint64_t v = 1; v <= 4; ++v) {
            auto version = publish_version(publisher, layout_, v, 10 * v);
            ASSERT_OK(version);
            auto report = receiver.sync({.deadline = 5s});
            ASSERT_OK(report);
            EXPECT_EQ(report->version, version->label());
            EXPECT_EQ(report->transport, transport);
            EXPECT_EQ(report->step, 10 * v);
            EXPECT_EQ(report->first, v == 1);
            EXPECT_EQ(report->verification, v == 1 ? Verification::content_at_rest : Verification::content);
            EXPECT_EQ(report->bytes_needed, model_.bytes());
            EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, v, tensors_));
        }
    }
}

TEST_F(SessionTest, ServesThePublishersOwnPages) {
    auto session = open();
    auto publisher = session.publisher(publisher_options(2)).value();
    auto receiver = session.receiver(receiver_options(Use::serve_in_place)).value();
    for (std::uint64_t v = 1; v <= 5; ++v) {
        ASSERT_OK(publish_version(publisher, layout_, v, v));
        auto report = receiver.sync({.deadline = 5s});
        ASSERT_OK(report);
        EXPECT_EQ(report->verification, Verification::identity);
        EXPECT_EQ(report->method, "shm_map");
        EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, v, tensors_));
        // The old version's hold ends with a message that nobody waits for.
        for (const Deadline patience = 20s; publisher.holds() != 1 && !patience.expired();) std::this_thread::yield();
        EXPECT_EQ(publisher.holds(), 1u);
    }
}

TEST_F(SessionTest, ReceivesFromDiskEvenAfterTheTrainer) {
    auto session = open();
    auto options = publisher_options();
    options.version_directory = scratch_.path() + "/versions";
    auto publisher = std::optional(session.publisher(options).value());
    auto receiver = session.receiver(receiver_options(Use::copy, "disk")).value();
    for (std::uint64_t v = 1; v <= 4; ++v) {
        auto version = publish_version(*publisher, layout_, v, v);
        ASSERT_OK(version);
        if (v == 4) publisher.reset();
        auto report = receiver.sync({.deadline = 5s});
        ASSERT_OK(report);
        EXPECT_EQ(report->version, version->label());
        EXPECT_EQ(report->method, "disk");
        EXPECT_THAT(report->transport, ::testing::StartsWith("file"));
        EXPECT_GT(report->stages[Stage::expose], 0);
        EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, v, tensors_));
    }
}

TEST_F(SessionTest, APinKeepsItsVersion) {
    auto session = open();
    auto publisher = session.publisher(publisher_options(2)).value();
    auto receiver = session.receiver(receiver_options(Use::serve_in_place)).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    ASSERT_OK(receiver.sync(soon_));
    auto pin = std::optional(receiver.pin());
    ASSERT_OK(publish_version(publisher, layout_, 2, 2));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    EXPECT_TRUE(holds_version(pin->tensors(), model_, 1, tensors_));
    EXPECT_THAT(publisher.begin_write({.deadline = 20ms}), HasError(Code::timed_out, "serve hold on version 1"));
    pin.reset();
    EXPECT_OK(publisher.begin_write({.deadline = 5s}));
}

TEST_F(SessionTest, MapThenInstallLetsGoAfterActivation) {
    auto session = open();
    auto publisher = session.publisher(publisher_options(1)).value();  // live: one slab
    auto receiver = session.receiver(receiver_options(Use::map_then_install)).value();
    for (std::uint64_t v = 1; v <= 3; ++v) {
        ASSERT_OK(publish_version(publisher, layout_, v, v));
        auto staged = receiver.stage({.deadline = 5s});
        ASSERT_OK(staged);
        EXPECT_TRUE(holds_version(staged->tensors(), model_, v, tensors_));  // the engine's loader
        EXPECT_EQ(publisher.holds(), 1u);
        ASSERT_OK(receiver.activate(*std::move(staged)));
    }
    EXPECT_THAT(session.receiver(receiver_options(Use::serve_in_place)).value().sync({.deadline = 100ms}), HasCode(Code::unsupported));
}

TEST_F(SessionTest, StagedIsNotActiveUntilActivated) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    ASSERT_OK(publish_version(publisher, layout_, 2, 2));
    {
        auto staged = receiver.stage({.deadline = 5s});
        ASSERT_OK(staged);
        EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, 1, tensors_));
    }  // dropped: nothing changed
    EXPECT_EQ(receiver.active_number().second, 1u);
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    EXPECT_EQ(receiver.active_number().second, 2u);
    EXPECT_OK(receiver.rollback());
    EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, 1, tensors_));
}

TEST_F(SessionTest, AfterAMarkTheNextVersionIsWaitedFor) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    const auto mark = receiver.newest().value();
    EXPECT_THAT(receiver.stage({.deadline = 50ms, .after = mark}), HasError(Code::timed_out, "no version newer than " + mark->label()));
    std::thread later([&] { EXPECT_OK(publish_version(publisher, layout_, 2, 2)); });
    auto staged = receiver.stage({.deadline = 5s, .after = mark});
    later.join();
    ASSERT_OK(staged);
    EXPECT_EQ(staged->version().number, 2u);
    EXPECT_TRUE(holds_version(staged->tensors(), model_, 2, tensors_));
    *staged = receiver.stage({.deadline = 5s}).value();  // the mark was that call's
    EXPECT_EQ(staged->version().number, 2u);
    EXPECT_THAT(receiver.stage({.deadline = 50ms, .after = staged->version()}), HasCode(Code::timed_out));
}

TEST_F(SessionTest, TheReportHasTheBudgetThatWasInEffect) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    auto options = receiver_options(Use::copy);
    options.budget.bucket_bytes = 1 << 20;
    auto receiver = session.receiver(options).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    const auto report = receiver.sync({.deadline = 5s}).value();
    EXPECT_EQ(report.configuration.at("bucket_bytes"), std::to_string(1 << 20));
    EXPECT_EQ(report.configuration.at("in_flight_bytes"), std::to_string(64 << 20));  // nothing was asked for
}

TEST_F(SessionTest, UnchangedBlocksAreNotMoved) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    auto options = receiver_options(Use::copy);
    options.slabs = 1;
    auto receiver = session.receiver(options).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    EXPECT_EQ(receiver.sync({.deadline = 5s})->bytes_moved, model_.bytes());
    ASSERT_OK(publish_version(publisher, layout_, 1, 2));  // the same bytes
    auto report = receiver.sync({.deadline = 5s});
    ASSERT_OK(report);
    EXPECT_EQ(report->bytes_moved, 0u);
    EXPECT_GT(report->blocks_reused, 0u);
    EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, 1, tensors_));
}

TEST_F(SessionTest, NothingNewTimesOut) {
    auto session = open();
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    EXPECT_THAT(receiver.sync({.deadline = 50ms}), HasCode(Code::timed_out));
    auto publisher = session.publisher(publisher_options()).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    EXPECT_THAT(receiver.sync({.deadline = 50ms}), HasError(Code::timed_out, "newer than policy@1.1"));
}

TEST_F(SessionTest, InterruptEndsAWait) {
    auto session = open();
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    std::thread other([&] {
        std::this_thread::sleep_for(30ms);
        receiver.interrupt();
    });
    EXPECT_THAT(receiver.sync({.deadline = 20s}), HasCode(Code::cancelled));
    other.join();
}

TEST_F(SessionTest, ShardsToShardsWithoutAGather) {
    MeshOptions mesh;
    mesh.fully_sharded = 3;
    const auto source = make_mesh_layout(model_, mesh).value();
    std::vector<Session> sessions;
    std::vector<Publisher> publishers;
    for (std::uint32_t rank = 0; rank < 3; ++rank) {
        sessions.push_back(open());
        auto options = publisher_options();
        options.source = source;
        options.rank = rank;
        options.world = 3;
        options.run = "job-1";
        publishers.push_back(sessions.back().publisher(options).value());
    }
    MeshOptions tensor_parallel;
    tensor_parallel.tensor_parallel = 2;
    const auto wanted = make_mesh_layout(model_, tensor_parallel).value();
    for (const std::string transport : {"shm", "tcp"}) {
        for (std::uint32_t rank = 0; rank < 2; ++rank) {
            auto options = receiver_options(Use::copy, transport);
            options.sink.wanted = wanted;
            options.sink.rank = rank;
            options.budget.threads = 2;
            auto receiver = sessions[0].receiver(options).value();
            for (std::uint64_t v = 1; v <= 2; ++v) {
                for (auto& publisher : publishers) ASSERT_OK(publish_version(publisher, source, v, v));
                auto report = receiver.sync({.deadline = 5s});
                ASSERT_OK(report);
                EXPECT_EQ(report->bytes_moved + 0, wanted.bytes_of(rank));
                EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, v, wanted.shards_of(rank).size()));
            }
        }
    }
}

TEST_F(SessionTest, AVersionIsVisibleWhenAllRanksPublished) {
    MeshOptions mesh;
    mesh.fully_sharded = 2;
    const auto source = make_mesh_layout(model_, mesh).value();
    auto session = open();
    std::vector<Publisher> publishers;
    for (std::uint32_t rank = 0; rank < 2; ++rank) {
        auto options = publisher_options();
        options.source = source;
        options.rank = rank;
        options.world = 2;
        options.run = "job-1";
        publishers.push_back(session.publisher(options).value());
    }
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    ASSERT_OK(publish_version(publishers[0], source, 1, 1));
    EXPECT_THAT(receiver.sync({.deadline = 50ms}), HasCode(Code::timed_out));
    EXPECT_THAT(publishers[0].begin_write({.deadline = 50ms}), HasError(Code::timed_out, "rank 1 did not publish"));
    ASSERT_OK(publish_version(publishers[1], source, 1, 1));
    EXPECT_OK(receiver.sync({.deadline = 5s}));
}

TEST_F(SessionTest, TwoTrainersWithOneName) {
    auto session = open();
    auto first = std::optional(session.publisher(publisher_options()).value());
    EXPECT_THAT(session.publisher(publisher_options()), HasError(Code::unavailable, "is being published by"));
    ASSERT_OK(publish_version(*first, layout_, 1, 100));
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    first.reset();
    auto second = session.publisher(publisher_options()).value();
    EXPECT_EQ(second.epoch(), 2u);
    ASSERT_OK(publish_version(second, layout_, 2, 7));  // a restarted trainer with a lower step
    auto report = receiver.sync({.deadline = 5s});
    ASSERT_OK(report);
    ASSERT_EQ(report->notes.size(), 1u);
    EXPECT_THAT(report->notes[0], ::testing::HasSubstr("its step is lower (7 after 100)"));
    EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, 2, tensors_));
}

TEST_F(SessionTest, WritingUnderAHoldIsCorruptForACopy) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    auto write = publisher.begin_write().value();
    std::vector<std::vector<std::byte>> bytes;
    std::byte* stray = nullptr;
    for (std::size_t i = 0; i < write.size(); ++i) {
        const auto shard = write.shard(i);
        ASSERT_OK(write.copy(i, box_bytes(model_[*model_.find(shard.name)], shard.box, 1)));
        if (shard.name == "model.norm.weight") stray = shard.bytes.data();
    }
    ASSERT_OK(publisher.publish(std::move(write)));
    *stray ^= std::byte{1};  // the trainer writes into the slab that it has published
    EXPECT_THAT(receiver.sync({.deadline = 5s}), HasError(Code::corrupt, "model.norm.weight"));
    EXPECT_FALSE(receiver.pin());
    *stray ^= std::byte{1};
    EXPECT_OK(receiver.sync({.deadline = 5s}));
}

TEST_F(SessionTest, RevokedInPlaceReceiversArePoisoned) {
    auto session = open();
    auto publisher = session.publisher(publisher_options(2)).value();
    auto receiver = session.receiver(receiver_options(Use::serve_in_place)).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    ASSERT_OK(publish_version(publisher, layout_, 2, 2));
    EXPECT_OK(receiver.health());
    auto write = publisher.begin_write({.deadline = 1ms, .revoke = true});
    ASSERT_OK(write);
    EXPECT_THAT(receiver.health(), HasError(Code::corrupt, "poisoned"));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    EXPECT_OK(receiver.health());
}

// What a pin keeps may be taken away; what is active is claimed by then, and no offer that goes with it.
TEST_F(SessionTest, RevokingAPinnedVersionLeavesTheActiveOne) {
    auto session = open();
    auto publisher = session.publisher(publisher_options(2)).value();
    auto receiver = session.receiver(receiver_options(Use::serve_in_place)).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    const auto pin = receiver.pin();
    ASSERT_OK(publish_version(publisher, layout_, 2, 2));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    // Time for the claim, which nobody waits for.
    ASSERT_OK(publisher.begin_write({.deadline = 500ms, .revoke = true}));
    EXPECT_EQ(publisher.holds(), 1u);
    EXPECT_OK(receiver.health());
    EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, 2, tensors_));
}

TEST_F(SessionTest, MemoryOfTheEngineIsUsed) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    const auto bytes = pack(layout_, 0)->bytes();
    std::vector<std::byte> a(bytes), b(bytes), small(bytes - 1);
    auto options = receiver_options(Use::copy);
    options.sink.slots = {a, b};
    auto receiver = session.receiver(options).value();
    ASSERT_OK(publish_version(publisher, layout_, 1, 1));
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    EXPECT_EQ(receiver.pin().tensors()[0].bytes.data(), a.data());
    options.sink.slots = {small};
    EXPECT_THAT(session.receiver(options).value().sync({.deadline = 5s}), HasError(Code::invalid_argument, "slot 0 has"));
}

TEST_F(SessionTest, BadWritesAreRefused) {
    auto session = open();
    auto publisher = session.publisher(publisher_options()).value();
    auto write = publisher.begin_write().value();
    EXPECT_THAT(write.copy(0, {}), HasCode(Code::invalid_argument));
    EXPECT_THAT(write.copy_from({}), HasError(Code::invalid_argument, "no parameter was given for"));
    std::vector<Parameter> parameters;
    std::vector<std::vector<std::byte>> bytes;
    for (const auto& spec : model_.tensors()) bytes.push_back(box_bytes(spec, Box::whole(spec.shape), 3));
    for (std::size_t i = 0; i < model_.size(); ++i) parameters.push_back({model_[i].name, bytes[i]});
    EXPECT_OK(write.copy_from(parameters));
    parameters.push_back({"stranger", bytes[0]});
    EXPECT_THAT(write.copy_from(parameters), HasError(Code::invalid_argument, "stranger"));
    ASSERT_OK(publisher.publish(std::move(write)));
    EXPECT_THAT(publisher.publish(std::move(write)), HasCode(Code::invalid_argument));
    auto receiver = session.receiver(receiver_options(Use::copy)).value();
    ASSERT_OK(receiver.sync({.deadline = 5s}));
    EXPECT_TRUE(holds_version(receiver.pin().tensors(), model_, 3, tensors_));
}

TEST_F(SessionTest, BadNamesAreRefused) {
    auto session = open();
    for (const std::string name : {"", "../x", "a/b", ".hidden", "a b"}) {
        auto options = publisher_options();
        options.name = name;
        EXPECT_THAT(session.publisher(options), HasCode(Code::invalid_argument)) << name;
    }
}

}  // namespace
}  // namespace wsync
