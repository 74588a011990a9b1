// Real sockets, real processes: bytes that change on the wire, receivers that stop, die, or die and leave a child behind.
#include "fault/transport/byte_flipper.hpp"

#include "conformance/transport/child_process.hpp"
#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"
#include "transport/tcp/request.hpp"
#include "transport/tcp/tcp_transport.hpp"
#include "transport/wire/descriptor.hpp"

#include "result_matchers.hpp"

#include <cstring>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <random>
#include <sys/syscall.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::ByteFlipper;
using testing::Child;
using testing::Flip;
using testing::HasCode;
using testing::Message;

constexpr auto kPatience = 60s;
constexpr std::uint64_t kRead = 200'000;

TcpOptions options() {
    TcpOptions made;
    made.secret.fill(std::byte{5});
    return made;
}

Region slab_of(std::uint64_t bytes) {
    auto slab = SharedSlab::make({.bytes = bytes, .huge_pages = false}).value();
    auto region = SharedSlab::region(slab);
    std::mt19937_64 random(bytes);
    for (std::uint64_t at = 0; at + 8 <= bytes; at += 8) {
        const auto word = random();
        std::memcpy(region.address + at, &word, 8);
    }
    return region;
}

// One read of the first kRead bytes.
Completion read_front(Channel& channel, const Region& target) {
    const Transfer transfer{.local = &target, .row_bytes = kRead, .want_digest = true, .ticket = 1};
    EXPECT_OK(channel.submit({&transfer, 1}));
    std::array<Completion, 1> one;
    const auto got = channel.wait(one, kPatience);
    EXPECT_OK(got);
    return std::move(one[0]);
}

class TcpWireTest : public ::testing::Test {
protected:
    TcpWireTest() {
        auto served = decode_descriptor(exposure_->descriptor(), "tcp").value();
        const auto& address = served.endpoints[0].address;
        flipper_.emplace(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
        served.endpoints[0].address = fmt::format("tcp:127.0.0.1:{}", flipper_->port());
        through_ = encode_descriptor(served).value();
        // What one read costs each way; its answer is header, payload, trailer.
        const auto channel = receiver_->attach(through_, {}).value();
        attach_to_client_ = flipper_->to_client();
        attach_to_server_ = flipper_->to_server();
        EXPECT_OK(read_front(*channel, target_).status);
    }
    // The answer to a read while `flip` is in place.
    Completion read_with(const Flip& flip) {
        flipper_->flip(flip);
        const auto channel = receiver_->attach(through_, {.deadline = kPatience}).value();
        return read_front(*channel, target_);
    }

    const Region source_ = slab_of(1 << 20);
    const Digest right_ = digest_of({source_.address, kRead});
    const Region target_ = HostBuffer::region(HostBuffer::make({.bytes = kRead, .huge_pages = false}).value());
    std::unique_ptr<Transport> exporter_ = make_tcp_transport(options()).value();
    std::unique_ptr<Transport> receiver_ = make_tcp_transport(options()).value();
    std::unique_ptr<Exposure> exposure_ = exporter_->expose(source_, {}).value();
    std::optional<ByteFlipper> flipper_;
    Descriptor through_;
    std::uint64_t attach_to_client_ = 0, attach_to_server_ = 0;
};

TEST_F(TcpWireTest, AFlippedByteOfThePayloadShowsInTheDigest) {
    for (const std::uint64_t at : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{65'536}, std::uint64_t{123'456}, kRead - 1}) {
        const auto completion = read_with({.offset = attach_to_client_ + tcp::kResponseBytes + at, .mask = std::byte{0x10}});
        ASSERT_OK(completion.status);
        EXPECT_NE(completion.digest, right_) << at;
        EXPECT_NE(target_.address[at], source_.address[at]) << at;
    }
    flipper_->flip(std::nullopt);
    const auto channel = receiver_->attach(through_, {}).value();
    EXPECT_EQ(read_front(*channel, target_).digest, right_);
}

// Never bytes that are wrong and look right: an Error, or the right bytes (a minor version and reserved bytes are free).
TEST_F(TcpWireTest, AFlippedByteOfAFrameIsNeverSilent) {
    std::size_t refused = 0;
    const auto judge = [&](const Flip& flip) {
        const auto completion = read_with(flip);
        if (completion.status) {
            EXPECT_EQ(completion.digest, right_) << (flip.to_client ? "to client " : "to server ") << flip.offset;
        } else {
            ++refused;
        }
    };
    for (std::uint64_t at = 0; at < tcp::kResponseBytes; ++at) judge({.offset = attach_to_client_ + at, .mask = std::byte{0x80}});
    for (std::uint64_t at = 0; at < tcp::kTrailerBytes; ++at) judge({.offset = attach_to_client_ + tcp::kResponseBytes + kRead + at});
    EXPECT_GE(refused, 30U);
    EXPECT_LT(refused, tcp::kResponseBytes + tcp::kTrailerBytes);
    // A flipped request may name other bytes of the region: their digest is another one, which the receiver sees.
    for (std::uint64_t at = 0; at < tcp::kRequestBytes; ++at) {
        const auto completion = read_with({.to_client = false, .offset = attach_to_server_ + at, .mask = std::byte{0x01}});
        const bool offset_byte = at >= 24 && at < 32;
        if (completion.status) {
            EXPECT_EQ(completion.digest == right_, !offset_byte) << at;
        }
    }
}

// Whatever changes while both sides prove themselves, nothing is attached under another secret or purpose.
TEST_F(TcpWireTest, AFlippedByteOfTheHandshakeIsRefusedOrHarmless) {
    for (const bool to_client : {false, true}) {
        const auto bytes = to_client ? attach_to_client_ : attach_to_server_;
        for (std::uint64_t at = 0; at < bytes; at += 7) {
            flipper_->flip(Flip{.to_client = to_client, .offset = at, .mask = std::byte{0x04}});
            const auto channel = receiver_->attach(through_, {.deadline = 500ms});
            if (!channel) continue;
            const auto completion = read_front(**channel, target_);
            if (completion.status) {
                EXPECT_EQ(completion.digest, right_) << at;
            }
        }
    }
}

// --- receivers as processes

class TcpReceiverTest : public ::testing::Test {
protected:
    enum Command : std::uint64_t { attach = 1, read_front_whole, begin_large, fork_sleeper };

    // Attaches, reads and answers as it is told.
    static void be_receiver(testing::Pipe& pipe) {
        const auto transport = make_tcp_transport(options()).value();
        std::unique_ptr<Channel> channel;
        auto target = HostBuffer::region(HostBuffer::make({.bytes = 256 << 20, .huge_pages = false, .prefault = false}).value());
        while (auto command = pipe.receive(kPatience)) {
            switch (command->word) {
                case attach: {
                    auto attached = transport->attach({"tcp", command->bytes}, {});
                    pipe.send(Message::of(attached ? Status{} : Status{attached.error()}));
                    if (attached) channel = *std::move(attached);
                    break;
                }
                case read_front_whole:
                    pipe.send(Message::of(read_front(*channel, target).status));
                    break;
                case begin_large: {
                    // So much that it can't all be in sockets; answers when its first bytes are there.
                    const Transfer transfer{.local = &target, .row_bytes = command->number, .ticket = 2};
                    (void)channel->submit({&transfer, 1});
                    std::array<Completion, 1> one;
                    while (target.address[0] == std::byte{0} && target.address[1] == std::byte{0}) (void)channel->wait(one, Deadline::now());
                    pipe.send({});
                    break;
                }
                case fork_sleeper:
                    pipe.send({0, static_cast<std::uint64_t>(testing::fork_sleeper()), {}});
                    break;
                default:
                    return;
            }
        }
    }
    static void attach_to(Child& child, const Exposure& exposure) { ASSERT_OK(child.ask({attach, 0, exposure.descriptor().bytes}).value().status()); }

    // Before the exporter has threads.
    Child first_{be_receiver}, second_{be_receiver};
    const Region source_ = slab_of(128 << 20);
    std::unique_ptr<Transport> exporter_ = make_tcp_transport(options()).value();
};

TEST_F(TcpReceiverTest, AStoppedReceiverHoldsNobodyUpAndIsNamed) {
    auto exposure = exporter_->expose(source_, {}).value();
    attach_to(first_, *exposure);
    attach_to(second_, *exposure);
    ASSERT_OK(first_.ask({begin_large, source_.bytes, {}}));
    first_.stop();
    for (int i = 0; i < 5; ++i) EXPECT_OK(second_.ask({read_front_whole, 0, {}}).value().status());
    EXPECT_THAT(exposure->close(100ms), testing::HasError(Code::timed_out, "127.0.0.1"));
    first_.go_on();
    // It goes on where it was, but never waits again: still under way.
    EXPECT_THAT(exposure->close(100ms), HasCode(Code::timed_out));
    first_.kill();
    EXPECT_OK(exposure->close(kPatience)) << "the dead hold nothing";
}

TEST_F(TcpReceiverTest, AKilledReceiverWhoseChildLivesIsGoneAllTheSame) {
    auto exposure = exporter_->expose(source_, {}).value();
    attach_to(first_, *exposure);
    ASSERT_OK(first_.ask({begin_large, source_.bytes, {}}));
    const auto sleeper = static_cast<pid_t>(first_.ask({fork_sleeper, 0, {}}).value().number);
    first_.kill();
    EXPECT_OK(exposure->close(20s)) << "its child keeps the socket open, and never reads it";
    ASSERT_GT(sleeper, 1);  // a failed fork's -1 would be everybody
    ::kill(sleeper, SIGKILL);
}

TEST_F(TcpReceiverTest, AStoppedReceiverIsGivenUpAfterTheStallTimeout) {
    auto quick = options();
    quick.stall_timeout = 500ms;
    exporter_ = make_tcp_transport(quick).value();
    auto exposure = exporter_->expose(source_, {}).value();
    attach_to(first_, *exposure);
    ASSERT_OK(first_.ask({begin_large, source_.bytes, {}}));
    first_.stop();
    EXPECT_OK(exposure->close(kPatience));
}

// --- an exporter whose sandbox knows no vmsplice

void refuse_vmsplice() {
    const std::array<sock_filter, 4> program{
        sock_filter(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))),
        sock_filter(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vmsplice, 0, 1)),
        sock_filter(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)),
        sock_filter(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)),
    };
    sock_fprog filter{.len = program.size(), .filter = const_cast<sock_filter*>(program.data())};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) ::_exit(3);
}

TEST(TcpSandboxTest, WithoutVmspliceTheBytesAreCopied) {
    Child exporter([](testing::Pipe& pipe) {
        refuse_vmsplice();
        const auto source = slab_of(4 << 20);
        const auto transport = make_tcp_transport(options()).value();
        const auto exposure = transport->expose(source, {}).value();
        pipe.send({0, 0, exposure->descriptor().bytes});
        (void)pipe.receive(kPatience);
    });
    const auto descriptor = exporter.pipe().receive(kPatience).value();
    const auto expected = slab_of(4 << 20);
    const auto receiver = make_tcp_transport(options()).value();
    const auto channel = receiver->attach({"tcp", descriptor.bytes}, {}).value();
    const auto target = HostBuffer::region(HostBuffer::make({.bytes = kRead, .huge_pages = false}).value());
    for (int i = 0; i < 3; ++i) {
        const auto completion = read_front(*channel, target);
        ASSERT_OK(completion.status);
        EXPECT_EQ(completion.digest, digest_of({expected.address, kRead}));
    }
}

// --- strangers

TEST(TcpStrangerTest, SilenceAndGarbageFromStrangersHoldNobodyUp) {
    const auto source = slab_of(1 << 20);
    const auto exporter = make_tcp_transport(options()).value();
    const auto exposure = exporter->expose(source, {}).value();
    const auto served = decode_descriptor(exposure->descriptor(), "tcp").value();
    const auto& address = served.endpoints[0].address;
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    std::mt19937 random(9);
    std::vector<UniqueFd> strangers;
    for (int i = 0; i < 20; ++i) {
        UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
        std::vector<std::byte> garbage(i % 3 == 0 ? 0 : random() % 2000 + 1);
        for (auto& byte : garbage) byte = static_cast<std::byte>(random());
        if (!garbage.empty()) (void)::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
        strangers.push_back(std::move(fd));
    }
    auto wrong = options();
    wrong.secret[0] = std::byte{0};
    EXPECT_THAT(make_tcp_transport(wrong).value()->attach(exposure->descriptor(), {}), HasCode(Code::invalid_argument));
    const auto receiver = make_tcp_transport(options()).value();
    const auto channel = receiver->attach(exposure->descriptor(), {}).value();
    const auto target = HostBuffer::region(HostBuffer::make({.bytes = kRead, .huge_pages = false}).value());
    EXPECT_EQ(read_front(*channel, target).digest, digest_of({source.address, kRead}));
    // What strangers hear before they have proved anything holds no byte of the region.
    for (auto& stranger : strangers) {
        std::vector<std::byte> heard(4096);
        const auto got = ::recv(stranger.get(), heard.data(), heard.size(), MSG_DONTWAIT);
        EXPECT_LT(got, 1024);
    }
    EXPECT_OK(exposure->close(kPatience));
}

}  // namespace
}  // namespace wsync
