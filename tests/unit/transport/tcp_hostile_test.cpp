// Peers that do not keep to the protocol: an exporter must answer with a refusal or hang up, and serve the others; a
// receiver must end with an Error.
#include "transport/tcp/attachment.hpp"
#include "transport/tcp/request.hpp"
#include "transport/tcp/tcp_transport.hpp"
#include "transport/wire/descriptor.hpp"
#include "transport/wire/stream.hpp"

#include "memory/host_buffer.hpp"

#include "result_matchers.hpp"

#include <array>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <random>
#include <sys/socket.h>
#include <thread>

namespace wsync::tcp {
namespace {

using namespace std::chrono_literals;
using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

constexpr auto kSoon = 20s;
constexpr std::uint64_t kRegionBytes = 1 << 20;

Secret secret() {
    Secret made{};
    made.fill(std::byte{3});
    return made;
}

TcpOptions options() {
    TcpOptions made;
    made.secret = secret();
    made.stall_timeout = 30s;
    return made;
}

Region region_of(std::uint64_t bytes, std::byte value) {
    auto buffer = HostBuffer::make({.bytes = bytes, .huge_pages = false}).value();
    std::fill(buffer->bytes().begin(), buffer->bytes().end(), value);
    return HostBuffer::region(buffer);
}

// An exporter, and a raw authenticated stream that is attached to it.
class HostileClientTest : public ::testing::Test {
protected:
    Stream raw_stream() {
        auto stream = connect_stream(served_.endpoints[0], {"tcp", secret()}, kSoon).value();
        ByteReader extra(served_.extra, "id");
        const AttachRequest attach{extra.u64().value(), served_.nonce, current_process().value()};
        EXPECT_OK(stream.send_frame(encode(attach), kSoon));
        const auto reply = decode_attach_reply(stream.receive_frame(kMaxAttachBytes, kSoon).value()).value();
        EXPECT_FALSE(reply.refusal);
        return stream;
    }
    static Response response_on(Stream& stream) {
        std::array<std::byte, kResponseBytes> frame{};
        EXPECT_OK(stream.receive_all(frame, kSoon));
        return decode_response(frame).value();
    }
    static void expect_refusal(Stream& stream, std::uint64_t sequence, Code code) {
        const auto response = response_on(stream);
        EXPECT_FALSE(response.ok);
        EXPECT_EQ(response.sequence, sequence);
        EXPECT_EQ(response.code, code);
    }
    // A good read of `bytes` on a stream whose next sequence is `sequence`.
    static void expect_served(Stream& stream, std::uint64_t sequence, std::uint64_t bytes = 100) {
        ASSERT_OK(stream.send_all(encode(Request{.op = RequestOp::read, .sequence = sequence, .range = {0, 0, bytes, 1}}), kSoon));
        const auto response = response_on(stream);
        EXPECT_TRUE(response.ok);
        EXPECT_EQ(response.bytes, bytes);
        std::vector<std::byte> payload(bytes + kTrailerBytes);
        ASSERT_OK(stream.receive_all(payload, kSoon));
        EXPECT_EQ(payload[0], std::byte{0x5a});
        EXPECT_TRUE(decode_trailer(std::span(payload).last<kTrailerBytes>())->ok);
    }
    static void expect_hung_up(Stream& stream) {
        std::array<std::byte, 1> byte{};
        EXPECT_THAT(stream.receive_all(byte, kSoon), HasCode(Code::peer_lost));
    }

    Region region_ = region_of(kRegionBytes, std::byte{0x5a});
    std::unique_ptr<Transport> exporter_ = make_tcp_transport(options()).value();
    std::unique_ptr<Exposure> exposure_ = exporter_->expose(region_, {.allow_write = true}).value();
    ServedRegion served_ = decode_descriptor(exposure_->descriptor(), "tcp").value();
};

TEST_F(HostileClientTest, RangesOutsideAreRefusedAndTheStreamGoesOn) {
    auto stream = raw_stream();
    const auto max = ~std::uint64_t{0};
    const std::vector<Strided> outside{{0, 0, kRegionBytes + 1, 1}, {kRegionBytes, 0, 1, 1}, {max, 0, 1, 1}, {max, 0, max, max}, {0, max, 8, 3},
                                       {8, max / 2, 8, 4}, {0, 0, 1 << 19, 3}, {0, 4, 8, 2}, {1, kRegionBytes, 0, max}, {max, 0, 0, 0}};
    std::uint64_t sequence = 0;
    for (const auto& range : outside) {
        ASSERT_OK(stream.send_all(encode(Request{.op = RequestOp::read, .sequence = sequence, .range = range}), kSoon));
        if (range.row_bytes == 0 && range.offset <= kRegionBytes) {
            EXPECT_TRUE(response_on(stream).ok) << "rows of nothing are inside";
            std::array<std::byte, kTrailerBytes> trailer{};
            ASSERT_OK(stream.receive_all(trailer, kSoon));
        } else {
            expect_refusal(stream, sequence, Code::invalid_argument);
        }
        expect_served(stream, sequence + 1);
        sequence += 2;
    }
}

TEST_F(HostileClientTest, OneBadRequestAmongGoodOnesIsRefusedAlone) {
    auto stream = raw_stream();
    Bytes frames;
    for (std::uint64_t i = 0; i < 9; ++i) {
        const auto frame = encode(Request{.op = RequestOp::read, .sequence = i, .range = {i == 4 ? kRegionBytes : 8 * i, 0, 8, 1}});
        frames.insert(frames.end(), frame.begin(), frame.end());
    }
    ASSERT_OK(stream.send_all(frames, kSoon));
    std::uint64_t answered = 0;
    while (answered < 9) {
        const auto response = response_on(stream);
        EXPECT_EQ(response.sequence, answered);
        answered += response.count;
        EXPECT_EQ(response.ok, response.sequence != 4);
        if (!response.ok) continue;
        std::vector<std::byte> payload(response.bytes + kTrailerBytes);
        ASSERT_OK(stream.receive_all(payload, kSoon));
    }
}

TEST_F(HostileClientTest, AWriteOutsideIsDrainedAndRefused) {
    auto stream = raw_stream();
    const std::vector<std::byte> payload(3 << 20, std::byte{1});
    ASSERT_OK(stream.send_all(encode(Request{.op = RequestOp::write, .range = {1, 0, payload.size(), 1}}), kSoon));
    ASSERT_OK(stream.send_all(payload, kSoon));
    expect_refusal(stream, 0, Code::invalid_argument);
    EXPECT_EQ(region_.address[1], std::byte{0x5a});
    expect_served(stream, 1);
}

TEST_F(HostileClientTest, AWriteThatNoLengthDescribesEndsTheStream) {
    auto stream = raw_stream();
    ASSERT_OK(stream.send_all(encode(Request{.op = RequestOp::write, .range = {0, 1ULL << 33, 1ULL << 33, 1ULL << 33}}), kSoon));
    expect_hung_up(stream);
    auto other = raw_stream();
    expect_served(other, 0);
}

TEST_F(HostileClientTest, LiesAboutTheOrderEndTheStream) {
    auto skipped = raw_stream();
    ASSERT_OK(skipped.send_all(encode(Request{.op = RequestOp::read, .sequence = 1, .range = {0, 0, 8, 1}}), kSoon));
    expect_hung_up(skipped);
    auto early = raw_stream();
    ASSERT_OK(early.send_all(encode(Request{.op = RequestOp::acknowledge, .received = 1}), kSoon));
    expect_hung_up(early);
    auto back = raw_stream();
    expect_served(back, 0);
    ASSERT_OK(back.send_all(encode(Request{.op = RequestOp::acknowledge, .received = 1}), kSoon));
    ASSERT_OK(back.send_all(encode(Request{.op = RequestOp::acknowledge, .received = 0}), kSoon));
    expect_hung_up(back);
    EXPECT_OK(exposure_->close(kSoon));
}

TEST_F(HostileClientTest, GarbageEndsTheStream) {
    std::mt19937 random(5);
    for (int round = 0; round < 20; ++round) {
        auto stream = raw_stream();
        std::vector<std::byte> garbage(64 + random() % 5000);
        for (auto& byte : garbage) byte = static_cast<std::byte>(random());
        // It may hang up while we still send.
        (void)stream.send_all(garbage, kSoon);
        std::array<std::byte, 1> byte{};
        EXPECT_THAT(stream.receive_all(byte, kSoon), HasCode(Code::peer_lost));
    }
    auto stream = raw_stream();
    expect_served(stream, 0);
}

TEST_F(HostileClientTest, AnAttachmentThatIsNoneIsRefused) {
    auto stream = connect_stream(served_.endpoints[0], {"tcp", secret()}, kSoon).value();
    ASSERT_OK(stream.send_frame(as_bytes_of("what is this"), kSoon));
    const auto reply = decode_attach_reply(stream.receive_frame(kMaxAttachBytes, kSoon).value()).value();
    ASSERT_TRUE(reply.refusal);
    EXPECT_EQ(reply.refusal->code, Code::corrupt);
    expect_hung_up(stream);
    auto huge = connect_stream(served_.endpoints[0], {"tcp", secret()}, kSoon).value();
    const std::array<std::byte, 4> length{std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}};
    ASSERT_OK(huge.send_all(length, kSoon));
    expect_hung_up(huge);
    auto wrong_nonce = connect_stream(served_.endpoints[0], {"tcp", secret()}, kSoon).value();
    ASSERT_OK(wrong_nonce.send_frame(encode(AttachRequest{1, Nonce{}, current_process().value()}), kSoon));
    const auto refused = decode_attach_reply(wrong_nonce.receive_frame(kMaxAttachBytes, kSoon).value()).value();
    ASSERT_TRUE(refused.refusal);
    EXPECT_EQ(refused.refusal->code, Code::not_found);
}

// Half a request, then nothing: dropped after the stall timeout, and no other stream waits for it.
TEST_F(HostileClientTest, HalfARequestIsGivenUp) {
    auto quick = options();
    quick.stall_timeout = 300ms;
    exposure_.reset();
    exporter_ = make_tcp_transport(quick).value();
    exposure_ = exporter_->expose(region_, {}).value();
    served_ = decode_descriptor(exposure_->descriptor(), "tcp").value();
    auto half = raw_stream();
    const auto frame = encode(Request{.op = RequestOp::read, .range = {0, 0, 8, 1}});
    ASSERT_OK(half.send_all(std::span(frame).first(20), kSoon));
    auto other = raw_stream();
    expect_served(other, 0);
    expect_hung_up(half);
    expect_served(other, 1);
}

// A peer that asks for much and reads nothing is dropped after the stall timeout; the exposure can be closed then.
TEST_F(HostileClientTest, ASlowReaderIsGivenUpAndHoldsNobodyUp) {
    auto quick = options();
    quick.stall_timeout = 500ms;
    const auto large = region_of(256 << 20, std::byte{0x5a});
    exposure_.reset();
    exporter_ = make_tcp_transport(quick).value();
    exposure_ = exporter_->expose(large, {}).value();
    served_ = decode_descriptor(exposure_->descriptor(), "tcp").value();
    auto slow = raw_stream();
    ASSERT_OK(slow.send_all(encode(Request{.op = RequestOp::read, .range = {0, 0, large.bytes, 1}}), kSoon));
    // Its socket is full when the first bytes are there and nobody takes them.
    pollfd item{slow.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&item, 1, 20'000), 1);
    auto other = raw_stream();
    expect_served(other, 0);
    ASSERT_OK(other.send_all(encode(Request{.op = RequestOp::acknowledge, .received = 1}), kSoon));
    EXPECT_OK(exposure_->close(kSoon)) << "waits for the slow one to be given up, not for ever";
}

// --- a receiver whose exporter lies

class HostileServerTest : public ::testing::Test {
protected:
    // Serves one attached stream by `body`.
    std::unique_ptr<Channel> attach_to(std::function<void(Stream&)> body) {
        server_ = StreamServer::start({.endpoint = {"tcp:127.0.0.1:0"}, .handshake = {"tcp", secret()}},
                                      [body = std::move(body)](Stream& stream) {
                                          (void)stream.receive_frame(kMaxAttachBytes, kSoon);
                                          AttachReply reply;
                                          reply.region_bytes = kRegionBytes;
                                          (void)stream.send_frame(encode(reply), kSoon);
                                          body(stream);
                                      })
                      .value();
        ByteWriter id;
        id.u64(1);
        ServedRegion region{.transport = "tcp", .process = current_process().value(), .region_bytes = kRegionBytes, .kind = MemoryKind::host,
                            .allow_write = false, .nonce = {}, .endpoints = {server_->endpoint()}, .extra = id.take()};
        return receiver_->attach(encode_descriptor(region).value(), {}).value();
    }
    // What becomes of two reads of 1,000 bytes when they are answered by `answer`.
    std::vector<Completion> answered_by(Bytes answer) {
        const auto channel = attach_to([answer = std::move(answer)](Stream& stream) {
            std::array<std::byte, 2 * kRequestBytes> requests{};
            if (!stream.receive_all(requests, kSoon)) return;
            (void)stream.send_all(answer, kSoon);
        });
        const std::vector<Transfer> transfers{{.local = &target_, .row_bytes = 1000, .ticket = 0}, {.local = &target_, .local_offset = 1000, .row_bytes = 1000, .ticket = 1}};
        EXPECT_EQ(channel->submit(transfers).value(), 2U);
        std::vector<Completion> all;
        std::array<Completion, 4> some;
        while (all.size() < 2) {
            const auto got = channel->wait(some, kSoon);
            EXPECT_OK(got);
            if (!got || *got == 0) break;
            all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(*got));
        }
        EXPECT_EQ(all.size(), 2U);
        return all;
    }
    static Bytes joined(std::initializer_list<std::span<const std::byte>> parts) {
        Bytes all;
        for (const auto part : parts) all.insert(all.end(), part.begin(), part.end());
        return all;
    }

    Region target_ = region_of(4096, std::byte{0});
    std::unique_ptr<StreamServer> server_;
    std::unique_ptr<Transport> receiver_ = make_tcp_transport(options()).value();
    const Bytes payload_ = Bytes(2000, std::byte{7});
};

TEST_F(HostileServerTest, AGoodAnswerIsTaken) {
    const auto header = encode(Response{.ok = true, .count = 2, .bytes = 2000});
    const auto trailer = encode(Trailer{.ok = true});
    for (const auto& completion : answered_by(joined({header, payload_, trailer}))) EXPECT_OK(completion.status);
    EXPECT_EQ(target_.address[1999], std::byte{7});
    EXPECT_EQ(target_.address[2000], std::byte{0});
}

TEST_F(HostileServerTest, AnswersThatDontFitAreCorrupt) {
    const auto trailer = encode(Trailer{.ok = true});
    for (const auto& response : {Response{.ok = true, .count = 3, .bytes = 3000}, Response{.ok = true, .count = ~0U, .bytes = 2000},
                                 Response{.ok = true, .count = 2, .bytes = 4000}, Response{.ok = true, .count = 1, .bytes = ~std::uint64_t{0}},
                                 Response{.ok = true, .sequence = 1, .count = 1, .bytes = 1000}, Response{.ok = true, .count = 0, .bytes = 0}}) {
        for (const auto& completion : answered_by(joined({encode(response), payload_, payload_, trailer}))) {
            EXPECT_THAT(completion.status, HasCode(Code::corrupt)) << response.sequence << " " << response.count << " " << response.bytes;
        }
    }
}

TEST_F(HostileServerTest, AnEndInTheMiddleIsALostPeer) {
    const auto header = encode(Response{.ok = true, .count = 2, .bytes = 2000});
    const auto trailer = encode(Trailer{.ok = true});
    const auto whole = joined({header, payload_, trailer});
    for (const std::size_t cut : {std::size_t{0}, std::size_t{10}, kResponseBytes, kResponseBytes + 500, kResponseBytes + 1500, kResponseBytes + 2000, whole.size() - 1}) {
        for (const auto& completion : answered_by(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut)))) {
            EXPECT_THAT(completion.status, HasCode(Code::peer_lost)) << cut;
        }
    }
}

TEST_F(HostileServerTest, ABadTrailerVoidsTheBytes) {
    const auto header = encode(Response{.ok = true, .count = 2, .bytes = 2000});
    for (const auto& completion : answered_by(joined({header, payload_, encode(Trailer{.ok = false, .code = Code::corrupt})}))) {
        EXPECT_THAT(completion.status, HasCode(Code::corrupt));
    }
    for (const auto& completion : answered_by(joined({header, payload_, payload_}))) EXPECT_THAT(completion.status, HasCode(Code::corrupt));
}

TEST_F(HostileServerTest, OnlySilenceIsATimeoutAndTheStreamIsOfUseStill) {
    std::atomic<bool> go = false;
    const auto channel = attach_to([&](Stream& stream) {
        std::array<std::byte, kRequestBytes> request{};
        if (!stream.receive_all(request, kSoon)) return;
        const auto header = encode(Response{.ok = true, .count = 1, .bytes = 1000});
        (void)stream.send_all(std::span(header).first(7), kSoon);
        while (!go) std::this_thread::yield();
        (void)stream.send_all(std::span(header).subspan(7), kSoon);
        (void)stream.send_all(std::span(payload_).first(1000), kSoon);
        (void)stream.send_all(encode(Trailer{.ok = true}), kSoon);
        (void)stream.receive_all(request, kSoon);
    });
    const Transfer transfer{.local = &target_, .row_bytes = 1000, .ticket = 5};
    ASSERT_OK(channel->submit({&transfer, 1}));
    std::array<Completion, 1> one;
    EXPECT_THAT(channel->wait(one, 50ms), HasCode(Code::timed_out));
    EXPECT_EQ(channel->wait(one, Deadline::now()).value(), 0U);
    go = true;
    ASSERT_EQ(channel->wait(one, kSoon).value(), 1U);
    EXPECT_OK(one[0].status);
    EXPECT_EQ(target_.address[999], std::byte{7});
}

}  // namespace
}  // namespace wsync::tcp
