// The bytes of the frames of tcp, as they were first published. A change here is a change of format: raise its version.
#include "transport/tcp/attachment.hpp"
#include "transport/tcp/request.hpp"

#include "record_checks.hpp"

#include <fstream>
#include <iterator>

namespace wsync::tcp {
namespace {

Bytes golden() {
    std::ifstream file(WSYNC_SOURCE_DIR "/tests/golden/transport/tcp_frames-1.0.bin", std::ios::binary);
    EXPECT_TRUE(file.is_open());
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = as_bytes_of(text);
    return {bytes.begin(), bytes.end()};
}

const Request kRead{.op = RequestOp::read, .sequence = 0x0102030405060708, .received = 3, .range = {0x1000, 0x200, 0x180, 7}, .generation = 42};
const Request kWrite{.op = RequestOp::write, .sequence = 9, .received = 8, .range = {5, 0, 6, 1}};
const Request kAcknowledge{.op = RequestOp::acknowledge, .received = 10};
const Response kServed{.ok = true, .sequence = 0x0102030405060708, .count = 2, .bytes = 0x1234567890};
const Response kRefused{.code = Code::unavailable, .ok = false, .sequence = 9, .count = 1};
const Trailer kGood{.ok = true};
const Trailer kVoid{.ok = false, .code = Code::corrupt};

AttachRequest attach_request() {
    AttachRequest request;
    request.exposure = 77;
    for (std::size_t i = 0; i < request.nonce.size(); ++i) request.nonce[i] = static_cast<std::byte>(i);
    request.client = {.boot_id = "boot", .host = "trainer", .pid_namespace = 4026531836, .pid = 1234, .start_ticks = 5678};
    return request;
}

Bytes frames() {
    Bytes all;
    const auto add = [&all](std::span<const std::byte> bytes) { all.insert(all.end(), bytes.begin(), bytes.end()); };
    for (const auto& request : {kRead, kWrite, kAcknowledge}) add(encode(request));
    for (const auto& response : {kServed, kRefused}) add(encode(response));
    for (const auto& trailer : {kGood, kVoid}) add(encode(trailer));
    add(encode(attach_request()));
    AttachReply reply;
    reply.region_bytes = 1 << 20;
    reply.writable = true;
    add(encode(reply));
    reply.refusal = Error{Code::not_found, "exposure 77 does not exist"};
    add(encode(reply));
    return all;
}

TEST(Golden, TcpFrames) { EXPECT_EQ(frames(), golden()); }

// The published bytes are read as what they were written from.
TEST(Golden, TcpFramesAreRead) {
    const auto bytes = golden();
    ASSERT_GT(bytes.size(), 3 * kRequestBytes + 2 * kResponseBytes + 2 * kTrailerBytes);
    std::span<const std::byte> rest(bytes);
    const auto read = decode_request(rest.first<kRequestBytes>()).value();
    EXPECT_EQ(read.sequence, kRead.sequence);
    EXPECT_EQ(read.range.rows, 7U);
    EXPECT_EQ(read.generation, 42U);
    rest = rest.subspan(kRequestBytes);
    EXPECT_EQ(decode_request(rest.first<kRequestBytes>())->op, RequestOp::write);
    rest = rest.subspan(kRequestBytes);
    EXPECT_EQ(decode_request(rest.first<kRequestBytes>())->received, 10U);
    rest = rest.subspan(kRequestBytes);
    EXPECT_EQ(decode_response(rest.first<kResponseBytes>())->bytes, kServed.bytes);
    rest = rest.subspan(kResponseBytes);
    EXPECT_EQ(decode_response(rest.first<kResponseBytes>())->code, Code::unavailable);
    rest = rest.subspan(kResponseBytes);
    EXPECT_TRUE(decode_trailer(rest.first<kTrailerBytes>())->ok);
    rest = rest.subspan(kTrailerBytes);
    EXPECT_EQ(decode_trailer(rest.first<kTrailerBytes>())->code, Code::corrupt);
    rest = rest.subspan(kTrailerBytes);
    const auto request_bytes = encode(attach_request()).size();
    EXPECT_EQ(decode_attach_request(rest.first(request_bytes))->client, attach_request().client);
}

TEST(Golden, TcpAttachmentsKeepTheVersionRule) {
    const auto request = encode(attach_request());
    testing::follows_the_version_rule(request, 0, [](std::span<const std::byte> bytes) { return decode_attach_request(bytes); });
    AttachReply reply;
    reply.region_bytes = 1 << 20;
    testing::follows_the_version_rule(encode(reply), 0, [](std::span<const std::byte> bytes) { return decode_attach_reply(bytes); });
    reply.refusal = Error{Code::not_found, "exposure 77 does not exist"};
    testing::follows_the_version_rule(encode(reply), 0, [](std::span<const std::byte> bytes) { return decode_attach_reply(bytes); });
}

// Fixed-size frames: a newer minor can only have used what is zero today.
TEST(Golden, TcpFramesKeepTheVersionRule) {
    const auto keeps = [](auto frame, auto decode) {
        frame[5] = std::byte{9};
        EXPECT_OK(decode(frame));
        frame[4] = std::byte{2};
        EXPECT_THAT(decode(frame), testing::HasError(Code::unsupported, "2.9"));
        EXPECT_THAT(decode(frame), testing::HasError(Code::unsupported, "this build 1.0"));
    };
    keeps(encode(kRead), [](const auto& frame) { return decode_request(frame); });
    keeps(encode(kServed), [](const auto& frame) { return decode_response(frame); });
    keeps(encode(kGood), [](const auto& frame) { return decode_trailer(frame); });
}

}  // namespace
}  // namespace wsync::tcp
