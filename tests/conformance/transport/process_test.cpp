// Deaths and stalls: peers are processes, and are killed and stopped.
#include "conformance/transport/fixture.hpp"

#include <set>

namespace wsync::testing {
namespace {

class TransportProcesses : public TransportSuite {
protected:
    // Waits until `wanted` more tickets have completed; their statuses are each in `allowed` (ok always is).
    void collect(Channel& channel, std::size_t wanted, std::set<std::uint64_t>& seen, std::set<Code> allowed, Deadline deadline = kPatience) {
        std::vector<Completion> some(8);
        const std::size_t end = seen.size() + wanted;
        while (seen.size() < end) {
            some.resize(std::min<std::size_t>(8, end - seen.size()));
            const auto n = channel.wait(some, deadline);
            ASSERT_OK(n);
            ASSERT_GT(*n, 0U);
            for (std::size_t i = 0; i < *n; ++i) {
                EXPECT_TRUE(seen.insert(some[i].ticket).second) << "ticket " << some[i].ticket << " twice";
                if (!some[i].status) {
                    EXPECT_TRUE(allowed.count(some[i].status.error().code) == 1) << some[i].status.error().to_string();
                } else {
                    EXPECT_TRUE(content_.size() >= (some[i].ticket + 1) * kEach);
                }
            }
        }
    }
    // After the exporter's death: what is asked for then is peer_lost, by whichever call.
    void expect_lost(Channel& channel) {
        const Region target = target_of(kEach);
        const auto accepted = channel.submit(reads(target, 1, kEach));
        if (!accepted) {
            EXPECT_THAT(accepted, HasCode(Code::peer_lost));
            return;
        }
        ASSERT_EQ(1U, *accepted);
        std::array<Completion, 1> one;
        const auto n = channel.wait(one, kPatience);
        ASSERT_OK(n);
        ASSERT_EQ(1U, *n);
        EXPECT_THAT(one[0].status, HasCode(Code::peer_lost));
    }

    static constexpr std::size_t kEach = 256U << 10;
    static constexpr std::size_t kCount = 64;
};

// An importer that reads on command: 1: attach; 2: submit all and wait for the first; 3: read the rest, check it all;
// 4: fork a sleeper.
class ImporterProcess {
public:
    ImporterProcess(std::function<std::unique_ptr<Transport>()> make, Descriptor descriptor, std::size_t count, std::size_t each)
        : child_([=](Pipe& pipe) { obey(pipe, make, descriptor, count, each); }) {}
    [[nodiscard]] Status ask(std::uint64_t op) { return child_.ask({op, 0, {}}).value().status(); }
    [[nodiscard]] pid_t fork_sleeper() { return static_cast<pid_t>(child_.ask({4, 0, {}}).value().number); }
    [[nodiscard]] Child& child() { return child_; }

private:
    static void obey(Pipe& pipe, const std::function<std::unique_ptr<Transport>()>& make, const Descriptor& descriptor, std::size_t count, std::size_t each) {
        const auto transport = make();
        std::unique_ptr<Channel> channel;
        HostBufferOptions options;
        options.bytes = count * each;
        options.huge_pages = false;
        const Region target = HostBuffer::region(HostBuffer::make(options).value());
        std::vector<Transfer> transfers(count);
        for (std::size_t i = 0; i < count; ++i) {
            transfers[i] = {.remote_offset = i * each, .local = &target, .local_offset = i * each, .row_bytes = each, .ticket = i};
        }
        std::size_t accepted = 0, completed = 0;
        const auto wait_once = [&]() -> Status {
            std::array<Completion, 1> one;
            WSYNC_TRY(const auto n, channel->wait(one, kPatience));
            if (n == 0) return Error{Code::internal, "nothing under way", {}};
            ++completed;
            return one[0].status;
        };
        const auto step = [&](std::uint64_t op) -> Status {
            if (op == 1) {
                WSYNC_TRY(channel, transport->attach(descriptor, {.deadline = kPatience}));
                return {};
            }
            WSYNC_TRY(const auto taken, channel->submit(std::span(transfers).subspan(accepted)));
            accepted += taken;
            if (op == 2) return wait_once();
            while (completed < count) {
                WSYNC_TRY_VOID(wait_once());
                WSYNC_TRY(const auto more, channel->submit(std::span(transfers).subspan(accepted)));
                accepted += more;
            }
            const auto content = pattern(count * each);
            if (!std::equal(content.begin(), content.end(), target.address)) return Error{Code::corrupt, "other bytes than were exposed", {}};
            return {};
        };
        while (auto command = pipe.receive(Deadline::never())) {
            if (command->word == 4) {
                pipe.send({0, static_cast<std::uint64_t>(testing::fork_sleeper()), {}});
            } else {
                pipe.send(Message::of(step(command->word)));
            }
        }
    }

    Child child_;
};

TEST_P(TransportProcesses, TheExporterIsKilledMidTransfer) {
    start_exporter({.bytes = kCount * kEach});
    auto channel = attach();
    const Region target = target_of(kCount * kEach);
    const auto accepted = channel->submit(reads(target, kCount, kEach)).value();
    ASSERT_GT(accepted, 1U);
    std::set<std::uint64_t> seen;
    collect(*channel, 1, seen, {});
    process().child().kill();
    collect(*channel, accepted - 1, seen, row().notices_death ? std::set{Code::peer_lost} : std::set<Code>{});
    std::array<Completion, 1> none;
    EXPECT_EQ(0U, channel->wait(none, Deadline::now()).value());
    if (row().notices_death) expect_lost(*channel);
}

TEST_P(TransportProcesses, TheExporterIsKilledWhileItsChildLives) {
    start_exporter({.bytes = kCount * kEach});
    auto channel = attach();
    const Region target = target_of(kCount * kEach);
    std::set<std::uint64_t> seen;
    const auto accepted = channel->submit(reads(target, kCount, kEach)).value();
    collect(*channel, 1, seen, {});
    // It keeps every socket of the exporter open: an end of file never comes.
    const pid_t sleeper = process().fork_sleeper();
    process().child().kill();
    collect(*channel, accepted - 1, seen, row().notices_death ? std::set{Code::peer_lost} : std::set<Code>{});
    if (row().notices_death) {
        expect_lost(*channel);
        EXPECT_THAT(try_attach(5s), HasCode(Code::peer_lost));
    }
    end_sleeper(sleeper);
}

TEST_P(TransportProcesses, ADeadExportersDescriptorIsRefused) {
    start_exporter();
    process().child().kill();
    const auto attached = try_attach();
    if (row().attach_asks_exporter) {
        EXPECT_THAT(attached, HasError(Code::peer_lost, "has gone"));
    } else {
        EXPECT_OK(attached);
    }
}

TEST_P(TransportProcesses, TheExporterIsStopped) {
    start_exporter({.bytes = kCount * kEach});
    auto channel = attach();
    process().child().stop();
    const Region target = target_of(kCount * kEach);
    std::set<std::uint64_t> seen;
    const auto accepted = channel->submit(reads(target, kCount, kEach)).value();
    ASSERT_GT(accepted, 0U);
    std::array<Completion, 1> one;
    if (row().exporter_serves) {
        EXPECT_EQ(0U, channel->wait(one, Deadline::now()).value());
        EXPECT_THAT(channel->wait(one, 100ms), HasCode(Code::timed_out));
        EXPECT_THAT(try_attach(100ms), HasCode(Code::timed_out));
        process().child().go_on();
        collect(*channel, accepted, seen, {});
    } else {
        collect(*channel, accepted, seen, {});
        if (row().attach_asks_exporter) {
            EXPECT_THAT(try_attach(100ms), HasCode(Code::timed_out));
        }
        process().child().go_on();
    }
    EXPECT_TRUE(holds_content(target, 0, accepted * kEach));
    EXPECT_OK(try_attach());
}

TEST_P(TransportProcesses, TheImporterIsStopped) {
    start_exporter({.bytes = kCount * kEach});
    ImporterProcess other([this] { return make_importer(setting_); }, exporter_->descriptor(), kCount, kEach);
    ASSERT_OK(other.ask(1));
    ASSERT_OK(other.ask(2));
    other.child().stop();
    // It stalls nobody else.
    auto channel = attach();
    const Region target = target_of(kCount * kEach);
    for (const auto& [ticket, completion] : move(*channel, reads(target, kCount, kEach))) EXPECT_OK(completion.status) << ticket;
    EXPECT_TRUE(holds_content(target, 0, kCount * kEach));
    other.child().go_on();
    EXPECT_OK(other.ask(3));
}

TEST_P(TransportProcesses, AStoppedImporterKeepsItsHold) {
    start_exporter({.bytes = kCount * kEach});
    ImporterProcess other([this] { return make_importer(setting_); }, exporter_->descriptor(), kCount, kEach);
    ASSERT_OK(other.ask(1));
    other.child().stop();
    if (row().attachment_is_work) {
        EXPECT_THAT(exporter_->close(50ms), HasError(Code::timed_out, "pid " + std::to_string(other.child().pid())));
        other.child().go_on();
        EXPECT_OK(other.ask(3));
    } else {
        EXPECT_OK(exporter_->close(kPatience));
    }
}

TEST_P(TransportProcesses, AKilledImporterHoldsNothing) {
    start_exporter({.bytes = kCount * kEach});
    ImporterProcess other([this] { return make_importer(setting_); }, exporter_->descriptor(), kCount, kEach);
    ASSERT_OK(other.ask(1));
    ASSERT_OK(other.ask(2));
    const pid_t sleeper = other.fork_sleeper();
    other.child().kill();
    EXPECT_OK(exporter_->close(kPatience));
    end_sleeper(sleeper);
}

INSTANTIATE_TEST_SUITE_P(Rows, TransportProcesses, ::testing::ValuesIn(cases_of({Peers::processes})),
                         [](const auto& info) { return name_of_case(info.param); });

}  // namespace
}  // namespace wsync::testing
