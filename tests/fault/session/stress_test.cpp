// A trainer that publishes as quickly as it can, receivers that copy and map in a loop, some of them killed: whatever is
// activated is of one version, all of it.
#include "measure/child.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"

#include "wsync/session/session.hpp"

#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <random>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::TemporaryDirectory;

constexpr auto kSpan = 2s;
constexpr auto kPatience = 30s;
const std::string kName = "policy";

// Words, so that filling and checking them costs next to nothing: each says its version and its place.
Layout layout() {
    std::vector<TensorSpec> tensors;
    for (int i = 0; i < 12; ++i) tensors.push_back({fmt::format("layer.{}", i), DType::f32, {64, static_cast<std::uint64_t>(64 + 2 * i)}});
    return Layout::replicated(Manifest::make(std::move(tensors)).value()).value();
}
std::uint64_t word(std::uint64_t step, std::uint64_t place) { return step * 0x9e3779b97f4a7c15u ^ place; }

SessionOptions session_options(const TemporaryDirectory& place) {
    SessionOptions options;
    options.control = "dir:" + place.path() + "/control";
    options.socket_directory = place.path() + "/s";
    return options;
}

// The version of every word, if it is one.
std::optional<std::uint64_t> step_of(const TensorRange& tensors, std::uint64_t step) {
    for (const auto tensor : tensors) {
        for (std::uint64_t i = 0; i + 8 <= tensor.bytes.size(); i += 8) {
            std::uint64_t found = 0;
            std::memcpy(&found, tensor.bytes.data() + i, 8);
            if (found != word(step, i)) return std::nullopt;
        }
    }
    return step;
}

int publish_until_told(Conversation& test, const TemporaryDirectory& place, unsigned slabs) {
    auto session = Session::open(session_options(place)).value();
    PublisherOptions options;
    options.name = kName;
    options.source = layout();
    options.slabs = slabs;
    options.huge_pages = false;
    auto publisher = session.publisher(options);
    if (!publisher) return 2;
    (void)test.send({{"ready", true}});
    std::vector<std::uint64_t> words;
    std::uint64_t step = 0, revoked = 0;
    while (!test.receive(Deadline::now())) {
        ++step;
        // Who holds a slab for so long loses it.
        auto write = publisher->begin_write({.deadline = 20ms});
        if (!write) {
            if (write.error().code != Code::timed_out) break;
            ++revoked;
            write = publisher->begin_write({.deadline = Deadline::now(), .revoke = true});
            if (!write) break;
        }
        for (std::size_t i = 0; i < write->size(); ++i) {
            const auto shard = write->shard(i);
            words.resize(shard.bytes.size() / 8);
            for (std::size_t k = 0; k < words.size(); ++k) words[k] = word(step, 8 * k);
            // By turns through the digesting copy and straight into the slab.
            if (i % 2 == 0) {
                if (!write->copy(i, std::as_bytes(std::span(words)))) return 3;
            } else {
                std::memcpy(shard.bytes.data(), words.data(), shard.bytes.size());
            }
        }
        if (!publisher->publish(*std::move(write), {.step = step})) return 4;
    }
    (void)test.send({{"steps", step}, {"revoked", revoked}});
    return 0;
}

struct Counts {
    std::uint64_t activated = 0, refused = 0, poisoned = 0;
    std::string wrong;
};

// Syncs and compares until `stop` says so.
Counts receive_until(const TemporaryDirectory& place, Use use, const std::string& transport, const std::function<bool()>& stop) {
    Counts counts;
    auto session = Session::open(session_options(place)).value();
    ReceiverOptions options;
    options.name = kName;
    options.use = use;
    options.transports = {transport};
    options.huge_pages = false;
    auto receiver = session.receiver(options).value();
    std::uint64_t last = 0;
    while (!stop()) {
        auto staged = receiver.stage({.deadline = 200ms});
        if (!staged) {
            // A hold that was taken away; a version that was gone before it was held.
            ++counts.refused;
            const auto code = staged.error().code;
            if (code == Code::corrupt || code == Code::unavailable || code == Code::timed_out) continue;
            if (code == Code::peer_lost) continue;
            counts.wrong = "staging failed with " + staged.error().to_string();
            return counts;
        }
        const auto step = staged->version().step;
        if (use == Use::copy && step_of(staged->tensors(), step) != step) {
            counts.wrong = fmt::format("{} is staged and mixed", staged->version().label());
            return counts;
        }
        auto report = receiver.activate(*std::move(staged));
        if (!report) {
            ++counts.refused;
            continue;
        }
        ++counts.activated;
        if (step <= last) counts.wrong = fmt::format("step {} came after {}", step, last);
        last = step;
        if (use != Use::serve_in_place) {
            const auto pin = receiver.pin();
            if (use == Use::copy && step_of(pin.tensors(), step) != step) counts.wrong = fmt::format("{} is active and mixed", pin.version().label());
        } else {
            const auto pin = receiver.pin();
            const auto served = step_of(pin.tensors(), step);
            // Mixed bytes are possible once the hold was taken away, and then the receiver knows.
            if (served != step) {
                const auto health = receiver.health();
                for (const Deadline patience(5s); receiver.health() && !patience.expired();) std::this_thread::sleep_for(1ms);
                if (receiver.health()) counts.wrong = fmt::format("{} is served mixed, and nobody says so", pin.version().label());
                ++counts.poisoned;
            }
        }
        if (!counts.wrong.empty()) return counts;
    }
    return counts;
}

int receive_until_told(Conversation& test, const TemporaryDirectory& place, Use use, const std::string& transport) {
    bool told = false;
    const auto counts = receive_until(place, use, transport, [&] { return told = test.receive(Deadline::now()).has_value(); });
    if (!told) (void)test.receive(kPatience);
    (void)test.send({{"activated", counts.activated}, {"refused", counts.refused}, {"poisoned", counts.poisoned}, {"wrong", counts.wrong}});
    return 0;
}

struct Kind {
    Use use;
    std::string transport;
};
const std::vector<Kind> kKinds = {{Use::copy, "shm"}, {Use::copy, "tcp"}, {Use::serve_in_place, "shm"}, {Use::copy, "shm"}};

TEST(Stress, between_processes_with_kills) {
    const TemporaryDirectory place(testing::memory_folder());
    auto trainer = Child::spawn("the trainer", [&](Conversation& test) { return publish_until_told(test, place, 3); }).value();
    ASSERT_OK(trainer.receive(kPatience));
    const auto spawn = [&](const Kind& kind) {
        return Child::spawn("a receiver", [&](Conversation& test) { return receive_until_told(test, place, kind.use, kind.transport); }).value();
    };
    std::vector<Child> receivers;
    for (const auto& kind : kKinds) receivers.push_back(spawn(kind));

    std::mt19937 random(7);
    int kills = 0;
    for (const Deadline end(kSpan); !end.expired(); ++kills) {
        std::this_thread::sleep_for(std::chrono::milliseconds(std::uniform_int_distribution(20, 120)(random)));
        // The first one lives through it all.
        const auto victim = std::uniform_int_distribution<std::size_t>(1, kKinds.size() - 1)(random);
        receivers[victim].signal(SIGKILL);
        ASSERT_OK(receivers[victim].join(kPatience));
        receivers[victim] = spawn(kKinds[victim]);
    }
    std::vector<std::uint64_t> activated;
    for (auto& receiver : receivers) {
        const auto counts = receiver.ask({{"do", "stop"}}, kPatience);
        ASSERT_OK(counts);
        EXPECT_EQ(counts->value("wrong", ""), "");
        activated.push_back(counts->value("activated", std::uint64_t{0}));
    }
    const auto published = trainer.ask({{"do", "stop"}}, kPatience);
    ASSERT_OK(published);
    EXPECT_GT(published->value("steps", std::uint64_t{0}), 20u);
    EXPECT_GT(activated[0], 5u);
    EXPECT_GT(kills, 5);
}

// The same by threads of one process, for tsan.
TEST(Stress, between_threads) {
    const TemporaryDirectory place(testing::memory_folder());
    std::atomic<bool> stop{false};
    auto session = Session::open(session_options(place)).value();
    PublisherOptions options;
    options.name = kName;
    options.source = layout();
    options.slabs = 3;
    options.huge_pages = false;
    auto publisher = session.publisher(options).value();
    std::vector<Counts> counts(kKinds.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
        threads.emplace_back([&, i] { counts[i] = receive_until(place, kKinds[i].use, kKinds[i].transport, [&] { return stop.load(); }); });
    }
    std::uint64_t step = 0;
    std::string wrong;
    for (const Deadline end(kSpan); !end.expired() && wrong.empty();) {
        ++step;
        auto write = publisher.begin_write({.deadline = 20ms});
        if (!write) write = publisher.begin_write({.deadline = Deadline::now(), .revoke = true});
        if (!write) {
            wrong = write.error().to_string();
            break;
        }
        for (std::size_t i = 0; i < write->size(); ++i) {
            const auto bytes = write->shard(i).bytes;
            std::vector<std::uint64_t> words(bytes.size() / 8);
            for (std::size_t k = 0; k < words.size(); ++k) words[k] = word(step, 8 * k);
            if (!write->copy(i, std::as_bytes(std::span(words)))) wrong = "a shard was not taken";
        }
        if (auto version = publisher.publish(*std::move(write), {.step = step}); !version) wrong = version.error().to_string();
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, "");
    for (const auto& count : counts) EXPECT_EQ(count.wrong, "");
    EXPECT_GT(counts[0].activated, 2u);
}

}  // namespace
}  // namespace wsync
