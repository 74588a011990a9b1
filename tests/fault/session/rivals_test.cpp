// Two trainers with one name, a trainer that writes where it must not, and bytes that arrive at the wrong place.
#include "actors.hpp"

#include "transport/transport.hpp"
#include "wsync/model/placement.hpp"

#include <csignal>

namespace wsync {
namespace {

using namespace wsync::testing;

class Rivals : public ::testing::TestWithParam<std::string> {
protected:
    ReceiverSetup copying() const { return {.use = Use::copy, .transport = GetParam(), .receiver = {}, .session = {}}; }
    Place place_;
};

TEST_P(Rivals, a_second_trainer_is_refused_while_the_first_one_lives) {
    Trainer first(place_);
    ASSERT_OK(first.open());
    ASSERT_OK(first.step(1, 100));
    ReceiverProcess receiver(place_, copying());
    ASSERT_OK(receiver.sync());
    Trainer second(place_);
    const auto refused = second.open();
    EXPECT_THAT(refused, HasError(Code::unavailable, "is being published by"));
    EXPECT_THAT(refused, HasError(Code::unavailable, std::to_string(first.process().pid())));
    // The first one is none the worse for it.
    ASSERT_OK(first.step(2, 101));
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(2));
    // When it has gone, the second one may; its step is lower, and that is said.
    first.process().signal(SIGKILL);
    ASSERT_TRUE(first.process().join(kPatience));
    ASSERT_OK(second.open());
    ASSERT_OK(second.step(3, 7));
    const auto synced = receiver.sync();
    ASSERT_OK(synced);
    EXPECT_THAT((*synced)["notes"].dump(), ::testing::HasSubstr("its step is lower (7 after 101)"));
    EXPECT_OK(receiver.serves(3));
}

TEST_P(Rivals, of_trainers_that_start_together_one_wins) {
    std::vector<std::unique_ptr<Trainer>> trainers;
    for (int i = 0; i < 4; ++i) {
        trainers.push_back(std::make_unique<Trainer>(place_));
        ASSERT_OK(trainers.back()->process().send({{"do", "open"}}));
    }
    int won = 0;
    for (auto& trainer : trainers) {
        const auto opened = trainer->process().receive(kPatience);
        if (!opened) {
            EXPECT_THAT(opened, HasCode(Code::unavailable));
            continue;
        }
        // Between its epoch and its record another one may have taken the name: then it is fenced, and says so.
        const auto version = trainer->step(1, 1);
        if (version) {
            ++won;
        } else {
            EXPECT_THAT(version, HasError(Code::unavailable, "is fenced"));
        }
    }
    EXPECT_EQ(won, 1);
    ReceiverProcess receiver(place_, copying());
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(1));
}

// Generations say that a slab is being written; who writes without asking is found by the digests.
TEST_P(Rivals, a_write_into_a_published_slab_is_corrupt_for_who_copies) {
    Trainer trainer(place_);
    ReceiverProcess receiver(place_, copying());
    ASSERT_OK(start(trainer, {&receiver}));
    ASSERT_OK(trainer.step(2, 2));
    ASSERT_OK(trainer.ask({{"do", "scribble"}, {"tensor", "model.norm.weight"}}));
    EXPECT_THAT(receiver.sync(), HasError(Code::corrupt, "model.norm.weight"));
    EXPECT_OK(receiver.serves(1));
    EXPECT_OK(receiver.health());
    ASSERT_OK(trainer.step(3, 3));
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.serves(3));
}

TEST(RivalsInPlace, taking_a_slab_that_is_served_poisons_who_serves_in_place) {
    const Place place;
    Trainer trainer(place);
    ASSERT_OK(trainer.open());
    ASSERT_OK(trainer.step(1, 1));
    ReceiverProcess receiver(place, {.use = Use::serve_in_place, .transport = "shm", .receiver = {}, .session = {}});
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.health());
    ASSERT_OK(trainer.step(2, 2));
    const auto pid = std::to_string(receiver.process().pid());
    EXPECT_THAT(trainer.step(3, 3, {{"deadline_ms", 20}}), HasError(Code::timed_out, "engine-" + pid));
    ASSERT_OK(trainer.step(3, 3, {{"deadline_ms", 20}, {"revoke", true}}));
    EXPECT_THAT(receiver.health(), HasError(Code::corrupt, "poisoned"));
    ASSERT_OK(receiver.sync());
    EXPECT_OK(receiver.health());
    EXPECT_OK(receiver.serves(3));
}

// --- placements that are wrong: the bytes are whole, and lie where they do not belong.

// Moves the local side of some transfers, as a faulty plan or binding would.
class MisplacingChannel final : public Channel {
public:
    using Misplace = std::function<void(Transfer&)>;
    MisplacingChannel(std::unique_ptr<Channel> inner, Misplace misplace) : inner_(std::move(inner)), misplace_(std::move(misplace)) {}
    Result<Region> map() override { return inner_->map(); }
    Result<std::size_t> submit(std::span<const Transfer> transfers) override {
        std::vector<Transfer> moved(transfers.begin(), transfers.end());
        for (auto& transfer : moved) misplace_(transfer);
        return inner_->submit(moved);
    }
    Result<std::size_t> wait(std::span<Completion> out, Deadline deadline) override { return inner_->wait(out, deadline); }
    void close() override { inner_->close(); }
    std::optional<std::uint64_t> generation() const override { return inner_->generation(); }

private:
    std::unique_ptr<Channel> inner_;
    Misplace misplace_;
};

class MisplacingTransport final : public Transport {
public:
    MisplacingTransport(std::unique_ptr<Transport> inner, MisplacingChannel::Misplace misplace) : inner_(std::move(inner)), misplace_(std::move(misplace)) {}
    const Capabilities& capabilities() const override { return inner_->capabilities(); }
    Result<std::unique_ptr<Exposure>> expose(const Region& region, const ExposeOptions& options) override { return inner_->expose(region, options); }
    Result<std::unique_ptr<Channel>> attach(const Descriptor& descriptor, const AttachOptions& options) override {
        WSYNC_TRY(auto channel, inner_->attach(descriptor, options));
        return std::unique_ptr<Channel>(std::make_unique<MisplacingChannel>(std::move(channel), misplace_));
    }

private:
    std::unique_ptr<Transport> inner_;
    MisplacingChannel::Misplace misplace_;
};

void expect_refused_at_first_sync(const Place& place, const std::string& transport, const MisplacingChannel::Misplace& misplace, const std::string& tensor,
                                  const std::string& where) {
    Trainer trainer(place);
    ASSERT_OK(trainer.open());
    ASSERT_OK(trainer.step(1, 1));
    ReceiverProcess receiver(place, {.use = Use::copy, .transport = transport, .receiver = {}, .session = [&](SessionOptions& options) {
                                         options.decorate = [misplace](std::unique_ptr<Transport> inner) -> std::unique_ptr<Transport> {
                                             return std::make_unique<MisplacingTransport>(std::move(inner), misplace);
                                         };
                                     }});
    for (int attempt = 0; attempt < 2; ++attempt) {
        const auto refused = receiver.sync();
        EXPECT_THAT(refused, HasError(Code::corrupt, tensor));
        EXPECT_THAT(refused, HasError(Code::corrupt, where));
        EXPECT_EQ(receiver.serves(0).value(), "");  // nothing is active
    }
}

// Where the receiver's packed slab has each tensor: in the layout's order, as pack() puts them.
std::uint64_t offset_of(const std::string& name) {
    const auto layout = Layout::replicated(small_model()).value();
    const auto placement = pack(layout, 0).value();
    for (std::size_t i = 0; i < layout.shards().size(); ++i)
        if (layout.manifest()[layout.shards()[i].tensor].name == name) return placement.places[i].offset;
    return 0;
}

TEST_P(Rivals, two_equal_tensors_that_are_swapped_are_seen_at_the_first_sync) {
    const auto a = offset_of("model.layers.0.mlp.twin_a"), b = offset_of("model.layers.0.mlp.twin_b");
    const std::uint64_t bytes = 600 * 1024 * 2;
    expect_refused_at_first_sync(place_, GetParam(), [=](Transfer& transfer) {
        if (transfer.local_offset >= a && transfer.local_offset < a + bytes) {
            transfer.local_offset += b - a;
        } else if (transfer.local_offset >= b && transfer.local_offset < b + bytes) {
            transfer.local_offset -= b - a;
        }
    }, "twin_", "at rest");
}

TEST_P(Rivals, a_box_that_is_off_by_one_row_is_seen_at_the_first_sync) {
    const auto embed = offset_of("model.embed_tokens.weight");
    const std::uint64_t row = 64 * 2;
    expect_refused_at_first_sync(place_, GetParam(), [=](Transfer& transfer) {
        if (transfer.local_offset == embed) transfer.local_offset += row;
    }, "model.embed_tokens.weight", GetParam() == "shm" ? "at rest" : "verifying");  // tcp may see the overlap while bytes land
}

INSTANTIATE_TEST_SUITE_P(Transports, Rivals, ::testing::Values("shm", "tcp"), [](const auto& info) { return info.param; });

}  // namespace
}  // namespace wsync
