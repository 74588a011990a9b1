#include "transport/tcp/attachment.hpp"
#include "transport/tcp/request.hpp"

#include "result_matchers.hpp"

#include <rapidcheck.h>

namespace wsync::tcp {
namespace {

using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

Request sample() {
    return {.op = RequestOp::write, .sequence = 7, .received = 5, .range = {4096, 512, 100, 9}, .generation = 42};
}

TEST(TcpRequest, ComesBackAsItWas) {
    const auto request = decode_request(encode(sample()));
    ASSERT_OK(request);
    EXPECT_EQ(request->op, RequestOp::write);
    EXPECT_EQ(request->sequence, 7U);
    EXPECT_EQ(request->received, 5U);
    EXPECT_EQ(request->range.offset, 4096U);
    EXPECT_EQ(request->range.stride, 512U);
    EXPECT_EQ(request->range.row_bytes, 100U);
    EXPECT_EQ(request->range.rows, 9U);
    EXPECT_EQ(request->generation, 42U);
}

TEST(TcpRequest, RefusesWhatIsNoRequest) {
    auto frame = encode(sample());
    frame[0] ^= std::byte{1};
    EXPECT_THAT(decode_request(frame), HasError(Code::corrupt, "magic"));
    frame = encode(sample());
    frame[4] = std::byte{2};
    EXPECT_THAT(decode_request(frame), HasError(Code::unsupported, "2.0"));
    frame = encode(sample());
    frame[6] = std::byte{4};
    EXPECT_THAT(decode_request(frame), HasError(Code::corrupt, "operation 4"));
    frame[6] = std::byte{0};
    EXPECT_THAT(decode_request(frame), HasError(Code::corrupt, "operation 0"));
}

TEST(TcpRequest, ReadsAnUnknownMinor) {
    auto frame = encode(sample());
    frame[5] = std::byte{9};
    EXPECT_OK(decode_request(frame));
}

TEST(TcpResponse, ComesBackAsItWas) {
    const auto good = decode_response(encode(Response{.ok = true, .sequence = 3, .count = 4, .bytes = 1'000'000'000'000}));
    ASSERT_OK(good);
    EXPECT_TRUE(good->ok);
    EXPECT_EQ(good->sequence, 3U);
    EXPECT_EQ(good->count, 4U);
    EXPECT_EQ(good->bytes, 1'000'000'000'000U);
    const auto bad = decode_response(encode(Response{.code = Code::corrupt, .ok = false, .sequence = 3, .count = 1}));
    ASSERT_OK(bad);
    EXPECT_FALSE(bad->ok);
    EXPECT_EQ(bad->code, Code::corrupt);
}

TEST(TcpResponse, RefusesWhatCantBeAnAnswer) {
    EXPECT_THAT(decode_response(encode(Response{.ok = true, .count = 0})), HasError(Code::corrupt, "no request"));
    EXPECT_THAT(decode_response(encode(Response{.ok = false, .count = 2})), HasError(Code::corrupt, "refusal"));
    EXPECT_THAT(decode_response(encode(Response{.ok = false, .count = 1, .bytes = 8})), HasError(Code::corrupt, "refusal"));
    auto frame = encode(Response{.ok = true, .count = 1});
    frame[6] = std::byte{200};
    EXPECT_THAT(decode_response(frame), HasError(Code::corrupt, "status 200"));
}

TEST(TcpTrailer, SaysEveryCode) {
    for (int code = 0; code <= static_cast<int>(Code::internal); ++code) {
        const auto trailer = decode_trailer(encode(Trailer{.ok = false, .code = static_cast<Code>(code)}));
        ASSERT_OK(trailer);
        EXPECT_FALSE(trailer->ok);
        EXPECT_EQ(trailer->code, static_cast<Code>(code));
    }
    EXPECT_TRUE(decode_trailer(encode(Trailer{.ok = true}))->ok);
    EXPECT_FALSE(known_status(static_cast<std::uint16_t>(Code::internal) + 2));
}

TEST(TcpAttachment, ComesBackAsItWas) {
    const auto self = current_process().value();
    const AttachRequest request{.exposure = 12, .nonce = random_nonce().value(), .client = self};
    const auto back = decode_attach_request(encode(request));
    ASSERT_OK(back);
    EXPECT_EQ(back->exposure, 12U);
    EXPECT_EQ(back->nonce, request.nonce);
    EXPECT_EQ(back->client, self);

    AttachReply reply;
    reply.region_bytes = 99;
    reply.writable = true;
    const auto good = decode_attach_reply(encode(reply));
    ASSERT_OK(good);
    EXPECT_FALSE(good->refusal);
    EXPECT_EQ(good->region_bytes, 99U);
    EXPECT_TRUE(good->writable);
    reply.refusal = Error{Code::not_found, std::string(4000, 'x')};
    const auto refused = decode_attach_reply(encode(reply));
    ASSERT_OK(refused);
    ASSERT_TRUE(refused->refusal);
    EXPECT_EQ(refused->refusal->code, Code::not_found);
}

TEST(TcpAttachment, RefusesEveryTruncation) {
    const auto request = encode(AttachRequest{.exposure = 1, .client = current_process().value()});
    const auto reply = encode(AttachReply{.refusal = Error{Code::not_found, "gone"}});
    for (std::size_t n = 0; n < request.size(); ++n) EXPECT_FALSE(decode_attach_request(std::span(request).first(n))) << n;
    for (std::size_t n = 0; n < reply.size(); ++n) EXPECT_FALSE(decode_attach_reply(std::span(reply).first(n))) << n;
}

// Every decoder gives an Error or a value that comes back as the same bytes, whatever it is fed.
TEST(TcpFrames, AnyBytes) {
    rc::check("request", [](const std::array<std::uint8_t, kRequestBytes>& raw, bool plausible) {
        std::array<std::byte, kRequestBytes> frame;
        std::transform(raw.begin(), raw.end(), frame.begin(), [](auto byte) { return static_cast<std::byte>(byte); });
        if (plausible) {
            const auto head = encode(sample());
            std::copy_n(head.begin(), 8, frame.begin());
        }
        const auto request = decode_request(frame);
        if (request && frame[5] == std::byte{0} && frame[7] == std::byte{0}) RC_ASSERT(encode(*request) == frame);
        if (plausible) RC_ASSERT(request.has_value());
    });
}

TEST(Strided, RunsCoverEveryByteInOrder) {
    rc::check([] {
        const Strided rows{.offset = *rc::gen::inRange<std::uint64_t>(0, 100), .stride = *rc::gen::inRange<std::uint64_t>(8, 20),
                           .row_bytes = *rc::gen::inRange<std::uint64_t>(1, 9), .rows = *rc::gen::inRange<std::uint64_t>(0, 20)};
        std::vector<std::uint64_t> expected, seen;
        for (std::uint64_t row = 0; row < rows.rows; ++row) {
            for (std::uint64_t i = 0; i < rows.row_bytes; ++i) expected.push_back(rows.offset + row * rows.stride + i);
        }
        for (std::uint64_t at = 0; at < rows.total();) {
            const auto run = rows.run_at(at);
            RC_ASSERT(run.bytes > 0U);
            const auto part = *rc::gen::inRange<std::uint64_t>(1, run.bytes + 1);
            for (std::uint64_t i = 0; i < part; ++i) seen.push_back(run.offset + i);
            at += part;
        }
        RC_ASSERT(seen == expected);
    });
}

}  // namespace
}  // namespace wsync::tcp
