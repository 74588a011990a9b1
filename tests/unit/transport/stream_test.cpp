#include "transport/wire/handshake_codec.hpp"
#include "transport/wire/stream.hpp"

#include "result_matchers.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

Secret secret_of(int seed) {
    Secret secret{};
    secret.fill(static_cast<std::byte>(seed));
    return secret;
}

class StreamTest : public ::testing::TestWithParam<std::string> {
protected:
    StreamTest() {
        std::string pattern = ::testing::TempDir() + "wsync-stream-XXXXXX";
        directory_ = ::mkdtemp(pattern.data());
    }
    ~StreamTest() override { std::filesystem::remove_all(directory_); }

    [[nodiscard]] std::string path() const { return directory_ + "/s"; }
    [[nodiscard]] Endpoint fresh_endpoint() const {
        return GetParam() == "unix" ? Endpoint{"unix:" + path()} : GetParam() == "tcp4" ? Endpoint{"tcp:127.0.0.1:0"} : Endpoint{"tcp:[::1]:0"};
    }
    [[nodiscard]] std::unique_ptr<StreamServer> serve(StreamServer::Serve body, int secret = 1) const {
        return StreamServer::start({.endpoint = fresh_endpoint(), .handshake = {"test", secret_of(secret)}, .handshake_timeout = 60s}, std::move(body)).value();
    }

    std::string directory_;
};

// Sends every frame back.
void echo(Stream& stream) {
    while (true) {
        auto frame = stream.receive_frame(64 << 20, Deadline::never());
        if (!frame || !stream.send_frame(*frame, 30s)) return;
    }
}

UniqueFd raw_connection(const Endpoint& endpoint) {
    UniqueFd fd;
    if (endpoint.is_unix()) {
        fd = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const auto path = endpoint.address.substr(5);
        std::copy(path.begin(), path.end(), address.sun_path);
        EXPECT_EQ(0, ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
        return fd;
    }
    const auto port = static_cast<in_port_t>(std::stoi(endpoint.address.substr(endpoint.address.rfind(':') + 1)));
    if (endpoint.address.find('[') == std::string::npos) {
        fd = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(0, ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    } else {
        fd = UniqueFd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(port);
        address.sin6_addr = in6addr_loopback;
        EXPECT_EQ(0, ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    }
    return fd;
}

// A stream around it; sockets of streams do not block.
Stream raw_stream(const Endpoint& endpoint) {
    UniqueFd fd = raw_connection(endpoint);
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    return Stream(std::move(fd), {.name = "the server"});
}

TEST_P(StreamTest, CarriesFramesOfEverySize) {
    auto server = serve(echo);
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s).value();
    for (const std::size_t size : {0UL, 1UL, 4095UL, (1UL << 20) + 1, 5UL << 20}) {
        Bytes sent(size);
        for (std::size_t i = 0; i < size; ++i) sent[i] = static_cast<std::byte>(i * 31 + size);
        std::thread sender([&] { EXPECT_OK(stream.send_frame(sent, 30s)); });
        auto back = stream.receive_frame(64 << 20, 30s);
        sender.join();
        ASSERT_OK(back);
        EXPECT_TRUE(*back == sent) << size;
    }
}

TEST_P(StreamTest, RefusesAFrameLongerThanAgreed) {
    auto server = serve(echo);
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s).value();
    ASSERT_OK(stream.send_frame(Bytes(100), 30s));
    EXPECT_THAT(stream.receive_frame(99, 30s), HasError(Code::corrupt, "the limit is 99"));
}

TEST_P(StreamTest, TimesOutOnASilentPeerAndNamesIt) {
    auto server = serve([](Stream& stream) {
        std::byte one{};
        (void)stream.receive_all(std::span(&one, 1), Deadline::never());
    });
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s).value();
    Bytes eight(8);
    EXPECT_THAT(stream.receive_all(eight, 20ms), HasError(Code::timed_out, stream.peer().name));
    EXPECT_THAT(stream.receive_all(eight, Deadline::now()), HasCode(Code::timed_out));
}

TEST_P(StreamTest, TimesOutOnAPeerThatDoesNotRead) {
    std::atomic<bool> done = false;
    auto server = serve([&](Stream&) { done.wait(false); });
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s).value();
    const Bytes much(64 << 20);
    EXPECT_THAT(stream.send_all(much, 50ms), HasCode(Code::timed_out));
    done = true;
    done.notify_all();
}

TEST_P(StreamTest, AHangUpIsPeerLost) {
    auto server = serve([](Stream&) {});
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s).value();
    std::byte one{};
    EXPECT_THAT(stream.receive_all(std::span(&one, 1), 30s), HasCode(Code::peer_lost));
    const Bytes much(64 << 20);
    EXPECT_THAT(stream.send_all(much, 30s), HasCode(Code::peer_lost));
}

TEST_P(StreamTest, ShutDownWakesABlockedThread) {
    auto server = serve(echo);
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s).value();
    std::thread blocked([&] {
        std::byte one{};
        EXPECT_THAT(stream.receive_all(std::span(&one, 1), Deadline::never()), HasCode(Code::peer_lost));
    });
    stream.shut_down();
    blocked.join();
}

TEST_P(StreamTest, StopEndsWhatIsServedAndFreesTheName) {
    auto server = serve(echo);
    const Endpoint endpoint = server->endpoint();
    auto stream = connect_stream(endpoint, {"test", secret_of(1)}, 30s).value();
    server->stop();
    std::byte one{};
    EXPECT_THAT(stream.receive_all(std::span(&one, 1), 30s), HasCode(Code::peer_lost));
    EXPECT_THAT(connect_stream(endpoint, {"test", secret_of(1)}, 30s), HasError(Code::unavailable, "nobody listens"));
    if (endpoint.is_unix()) {
        EXPECT_FALSE(std::filesystem::exists(path()));
    }
    server->stop();  // idempotent
}

TEST_P(StreamTest, AnotherSecretIsRefusedOnBothSides) {
    std::atomic<int> served = 0;
    auto server = serve([&](Stream&) { ++served; });
    EXPECT_THAT(connect_stream(server->endpoint(), {"test", secret_of(2)}, 30s), HasError(Code::invalid_argument, "does not know the secret"));
    server->stop();
    EXPECT_EQ(0, served);
}

TEST_P(StreamTest, AnotherPurposeIsRefused) {
    auto server = serve(echo);
    EXPECT_THAT(connect_stream(server->endpoint(), {"other", secret_of(1)}, 30s), HasError(Code::invalid_argument, "does not serve \"other\""));
    EXPECT_THAT(connect_stream(server->endpoint(), {std::string(33, 'x'), secret_of(1)}, 30s), HasCode(Code::invalid_argument));
}

TEST_P(StreamTest, AServerThatDoesNotKnowTheSecretIsFoundOut) {
    // A server that takes every proof and answers with one of its own making.
    auto honest = serve([](Stream&) {});
    const Endpoint listening = fresh_endpoint();
    honest->stop();
    UniqueFd listener(::socket(listening.is_unix() ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Endpoint endpoint = listening;
    if (listening.is_unix()) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::copy_n(path().c_str(), path().size(), address.sun_path);
        ASSERT_EQ(0, ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    } else {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ASSERT_EQ(0, ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
        socklen_t size = sizeof address;
        ASSERT_EQ(0, ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size));
        endpoint.address = "tcp:127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    }
    ASSERT_EQ(0, ::listen(listener.get(), 1));
    std::thread impostor([&] {
        UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        Stream stream(std::move(fd), {.name = "client"});
        EXPECT_OK(stream.receive_frame(kMaxHandshakeBytes, 30s));
        EXPECT_OK(stream.send_frame(encode(Challenge{}), 30s));
        auto proof = stream.receive_frame(kMaxHandshakeBytes, 30s);
        ASSERT_OK(proof);
        EXPECT_OK(stream.send_frame(*proof, 30s));  // the client's own proof, reflected
    });
    EXPECT_THAT(connect_stream(endpoint, {"test", secret_of(1)}, 30s), HasError(Code::invalid_argument, "does not know the secret"));
    impostor.join();
}

TEST_P(StreamTest, AnotherMajorIsRefusedAndBothAreNamed) {
    auto server = serve(echo);
    Stream stream = raw_stream(server->endpoint());
    Bytes hello = encode(Hello{"test", {}});
    hello[4] = std::byte{2};
    ASSERT_OK(stream.send_frame(hello, 30s));
    const auto answer = stream.receive_frame(kMaxHandshakeBytes, 30s);
    ASSERT_OK(answer);
    const auto refusal = decode_handshake(*answer);
    ASSERT_OK(refusal);
    EXPECT_EQ(Refusal::other_version, std::get<Refusal>(*refusal));
    // What the older side makes of the newer one's answer.
    EXPECT_THAT(decode_handshake(hello), HasError(Code::unsupported, "2.0"));
    EXPECT_THAT(decode_handshake(hello), HasError(Code::unsupported, "1.x"));
}

TEST_P(StreamTest, GarbageIsRefused) {
    auto server = serve(echo);
    {
        Stream stream = raw_stream(server->endpoint());
        ASSERT_OK(stream.send_all(Bytes(4, std::byte{0xff}), 30s));  // a frame of 4 GiB
        std::byte one{};
        (void)stream.receive_all(std::span(&one, 1), 30s);
    }
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s);
    EXPECT_OK(stream);
}

TEST_P(StreamTest, SilentStrangersDoNotKeepOthersOut) {
    auto server = StreamServer::start(
                      {.endpoint = fresh_endpoint(), .handshake = {"test", secret_of(1)}, .handshake_timeout = 60s, .max_unproven = 4}, echo)
                      .value();
    std::vector<UniqueFd> strangers;
    for (int i = 0; i < 32; ++i) strangers.push_back(raw_connection(server->endpoint()));
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s);
    EXPECT_OK(stream);
}

TEST_P(StreamTest, ASilentStrangerIsHungUpOn) {
    auto server =
        StreamServer::start({.endpoint = fresh_endpoint(), .handshake = {"test", secret_of(1)}, .handshake_timeout = 20ms}, echo).value();
    Stream stranger = raw_stream(server->endpoint());
    std::byte one{};
    EXPECT_THAT(stranger.receive_all(std::span(&one, 1), 30s), HasCode(Code::peer_lost));
}

TEST_P(StreamTest, OneConnectionTooManyIsToldSo) {
    auto server = StreamServer::start({.endpoint = fresh_endpoint(), .handshake = {"test", secret_of(1)}, .max_connections = 2}, echo).value();
    auto first = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s);
    ASSERT_OK(first);
    {
        auto second = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s);
        ASSERT_OK(second);
        EXPECT_THAT(connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s), HasError(Code::unavailable, "as many connections"));
    }
    // The second one's place becomes free once its thread has noticed.
    Result<Stream> third = Error{Code::unavailable, "", {}};
    while (!third && third.error().code == Code::unavailable) third = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s);
    EXPECT_OK(third);
}

TEST_P(StreamTest, AStreamCanBeKeptBeyondItsServing) {
    std::atomic<Stream*> kept = nullptr;
    auto server = serve([&](Stream& stream) {
        kept = new Stream(std::move(stream));
        kept.notify_all();
    });
    auto stream = connect_stream(server->endpoint(), {"test", secret_of(1)}, 30s).value();
    kept.wait(nullptr);
    server->stop();
    const std::unique_ptr<Stream> other(kept.load());
    // Stopped while it was still being served: broken. Otherwise it lives on.
    if (other->send_frame(Bytes(3), 30s)) {
        (void)stream.receive_frame(3, 30s);
    }
}

TEST_P(StreamTest, TheSecretDoesNotTravel) {
    // Proofs of the same secret differ by nonces and role.
    Nonce a{}, b{};
    b[0] = std::byte{1};
    const auto secret = secret_of(1);
    EXPECT_NE(handshake_proof(secret, Role::client, a, b, "test"), handshake_proof(secret, Role::server, a, b, "test"));
    EXPECT_NE(handshake_proof(secret, Role::client, a, b, "test"), handshake_proof(secret, Role::client, b, a, "test"));
    EXPECT_NE(handshake_proof(secret, Role::client, a, b, "test"), handshake_proof(secret, Role::client, a, b, "tess"));
}

INSTANTIATE_TEST_SUITE_P(Families, StreamTest, ::testing::Values("unix", "tcp4", "tcp6"), [](const auto& info) { return info.param; });

class UnixStreamTest : public StreamTest {
protected:
    [[nodiscard]] Endpoint endpoint() const { return {"unix:" + path()}; }
    [[nodiscard]] Result<std::unique_ptr<StreamServer>> start(StreamServer::Serve body) const {
        return StreamServer::start({.endpoint = endpoint(), .handshake = {"test", secret_of(1)}}, std::move(body));
    }
};

TEST_P(UnixStreamTest, PassesDescriptorsBesideBytes) {
    auto server = start([](Stream& stream) {
        const UniqueFd memory(::memfd_create("wsync-test", MFD_CLOEXEC));
        const std::array<int, 2> fds{memory.get(), memory.get()};
        EXPECT_OK(stream.send_fds(as_bytes_of("hello"), fds, 30s));
        EXPECT_OK(stream.send_fds(as_bytes_of("again"), fds, 30s));
        std::byte one{};
        (void)stream.receive_all(std::span(&one, 1), Deadline::never());
    });
    ASSERT_OK(server);
    auto stream = connect_stream(endpoint(), {"test", secret_of(1)}, 30s).value();
    EXPECT_EQ(::getpid(), stream.peer().pid);
    EXPECT_EQ(::getuid(), stream.peer().uid);
    Bytes hello(5);
    auto fds = stream.receive_fds(hello, 2, 30s);
    ASSERT_OK(fds);
    ASSERT_EQ(2U, fds->size());
    EXPECT_TRUE(::fcntl((*fds)[0].get(), F_GETFD) & FD_CLOEXEC);
    // More than were agreed: refused, and none is left open.
    EXPECT_THAT(stream.receive_fds(hello, 1, 30s), HasCode(Code::corrupt));
}

TEST_P(UnixStreamTest, TheSocketIsForItsOwnerOnly) {
    auto server = start(echo);
    ASSERT_OK(server);
    struct stat status {};
    ASSERT_EQ(0, ::stat(path().c_str(), &status));
    EXPECT_EQ(0600U, status.st_mode & 0777U);
}

TEST_P(UnixStreamTest, AStaleSocketIsReplacedALiveOneNot) {
    {
        UniqueFd gone(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::copy_n(path().c_str(), path().size(), address.sun_path);
        ASSERT_EQ(0, ::bind(gone.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    }
    ASSERT_TRUE(std::filesystem::exists(path()));
    auto server = start(echo);
    ASSERT_OK(server);
    EXPECT_THAT(start(echo), HasError(Code::unavailable, "listens on"));
    EXPECT_OK(connect_stream(endpoint(), {"test", secret_of(1)}, 30s));
}

TEST_P(UnixStreamTest, AFileThatIsNoSocketIsLeftAlone) {
    { std::ofstream(path()) << "precious"; }
    EXPECT_THAT(start(echo), HasError(Code::invalid_argument, "is no socket"));
    EXPECT_EQ(8U, std::filesystem::file_size(path()));
}

TEST_P(UnixStreamTest, APathThatIsTooLongIsNamed) {
    const Endpoint endpoint{"unix:" + directory_ + "/" + std::string(120, 'x')};
    EXPECT_THAT(StreamServer::start({.endpoint = endpoint}, echo), HasError(Code::invalid_argument, "at most 107"));
    EXPECT_THAT(connect_stream(endpoint, {"test", secret_of(1)}, 30s), HasError(Code::invalid_argument, "at most 107"));
}

INSTANTIATE_TEST_SUITE_P(Families, UnixStreamTest, ::testing::Values("unix"), [](const auto& info) { return info.param; });

TEST(EndpointTest, WhatIsNoneIsRefused) {
    for (const std::string address : {"", "tcp:", "tcp:host", "tcp::1", "tcp:a:b", "tcp:127.0.0.1:65536", "tcp:::1:80", "udp:127.0.0.1:1", "unix:", "/run/x",
                                      "tcp:127.0.0.1:-1", "tcp:127.0.0.1:+1"}) {
        EXPECT_THAT(connect_stream({address}, {"test", secret_of(1)}, 1s), HasError(Code::invalid_argument, "no endpoint")) << address;
        EXPECT_THAT(StreamServer::start({.endpoint = {address}}, echo), HasError(Code::invalid_argument, "no endpoint")) << address;
    }
}

TEST(EndpointTest, LoopbackStreamsAreTuned) {
    auto server = StreamServer::start({.endpoint = {"tcp:localhost:0"}, .handshake = {"test", secret_of(1)}}, echo);
    ASSERT_OK(server);
    auto stream = connect_stream((*server)->endpoint(), {"test", secret_of(1)}, 30s).value();
    int on = 0;
    socklen_t size = sizeof on;
    ASSERT_EQ(0, ::getsockopt(stream.fd(), IPPROTO_TCP, TCP_NODELAY, &on, &size));
    EXPECT_EQ(1, on);
    ASSERT_EQ(0, ::getsockopt(stream.fd(), SOL_SOCKET, SO_KEEPALIVE, &on, &size));
    EXPECT_EQ(1, on);
}

}  // namespace
}  // namespace wsync
