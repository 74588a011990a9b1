// The frames of a link, byte for byte. A change here is a change of format: raise its version.
#include "record_checks.hpp"

#include "sync/link_frames.hpp"

#include <numeric>
#include <set>

namespace wsync {
namespace {

using namespace testing;
using namespace link;
using BytesView = std::span<const std::byte>;

// The minor that wrote a frame so first.
std::string file_of(const std::string& name) {
    static const std::set<std::string> of_minor_1{"link-hello", "link-claim", "link-welcome", "link-welcome-without-head", "link-offer"};
    return "sync/" + name + (of_minor_1.contains(name) ? "-1.1.bin" : "-1.0.bin");
}
Bytes golden_sync(const std::string& name) { return golden_record_bytes(file_of(name)); }

Digest digest(std::uint8_t first) {
    Digest d;
    std::iota(d.bytes.begin(), d.bytes.end(), first);
    return d;
}

ProcessIdentity process() { return {"83f622ba-3c0f-4ca3-a34a-a8409beb401f", "node-7", 4026531836, 4711, 123456}; }
HeadRecord head() { return {{"policy", "run-7", 3, 17, 170, 16, digest(0x10)}}; }
GrantedHold granted() {
    return {{5, 17, 1, 34, HoldKind::install}, {17, 170, 1, 34, digest(0x20), 0.25, 1.5, 2.0, "/models/policy/v3.17"}};
}
Bytes fine(const Bytes& payload) { return reply({}, payload); }

const auto decode_request_again = [](BytesView bytes) { return decode_request(bytes); };
const auto encode_request_again = [](const Request& request) { return link::encode(request); };

TEST(LinkGolden, Requests) {
    const std::pair<std::string, Request> requests[] = {
        {"link-hello", Hello{process(), "rollout-3"}},
        {"link-blob", BlobRequest{digest(0x60), 1 << 20}},
        {"link-hold", HoldRequest{17, HoldKind::install}},
        {"link-check", CheckRequest{5, true}},
        {"link-release", ReleaseRequest{5}},
        {"link-claim", ClaimRequest{5}},
        {"link-digests", DigestsRequest{5, {{0, {{0, 4}, {2, 4}}}, {9, {}}, {2, {{std::uint64_t{1} << 40}, {7}}}}}},
    };
    for (const auto& [name, request] : requests) {
        SCOPED_TRACE(name);
        const auto bytes = golden_sync(name);
        expect_golden(file_of(name), link::encode(request));
        const auto back = decode_request(bytes);
        ASSERT_OK(back);
        EXPECT_EQ(back->index(), request.index());
        EXPECT_EQ(link::encode(*back), bytes);
        refuses_another_length(bytes, decode_request_again);
        std::vector<std::size_t> minors;
        if (name != "link-hello") survives_every_change(bytes, decode_request_again, encode_request_again, minors);
    }
}

// The link's version travels in hello and welcome; other frames follow the lower minor of the two sides.
TEST(LinkGolden, HelloAndWelcomeCarryTheVersion) {
    const auto hello = golden_sync("link-hello");
    follows_the_version_rule(hello, 1, decode_request_again);
    const std::size_t minors[] = {1};
    survives_every_change(
        hello, [](BytesView bytes) -> Result<Request> {
            auto request = decode_request(bytes);
            // Another type byte makes another frame of it.
            if (request && !std::holds_alternative<Hello>(*request)) return Error{Code::corrupt, "no hello", {}};
            return request;
        },
        encode_request_again, minors);

    const auto payload_of = [](const std::string& name) {
        const auto frame = golden_sync(name);
        const auto payload = decode_reply(frame).value();
        return Bytes(payload.begin(), payload.end());
    };
    const auto decode = [](BytesView bytes) { return decode_welcome(bytes); };
    for (const std::string name : {"link-welcome", "link-welcome-without-head"}) {
        SCOPED_TRACE(name);
        const auto payload = payload_of(name);
        refuses_another_length(payload, decode);
        follows_the_version_rule(payload, 0, decode);
    }
    expect_golden(file_of("link-welcome"), fine(link::encode(Welcome{head()})));
    expect_golden(file_of("link-welcome-without-head"), fine(link::encode(Welcome{})));
    EXPECT_EQ(decode_welcome(payload_of("link-welcome")).value().head->version, head().version);
    EXPECT_FALSE(decode_welcome(payload_of("link-welcome-without-head")).value().head);
}

// A side of 1.0 is understood, and known for what it is: it is sent no offers.
TEST(LinkGolden, TheOlderMinorIsRead) {
    const auto request = decode_request(golden_record_bytes("sync/link-hello-1.0.bin"));
    ASSERT_OK(request);
    EXPECT_EQ(std::get<Hello>(*request).receiver, "rollout-3");
    EXPECT_EQ(std::get<Hello>(*request).minor, 0);
    EXPECT_EQ(std::get<Hello>(decode_request(golden_sync("link-hello")).value()).minor, 1);
    const auto frame = golden_record_bytes("sync/link-welcome-1.0.bin");
    EXPECT_EQ(decode_welcome(decode_reply(frame).value()).value().head->version, head().version);
}

TEST(LinkGolden, Answers) {
    const std::vector<std::byte> bytes{std::byte{7}, std::byte{8}, std::byte{9}};
    const std::vector<Digest> digests{digest(0x70), digest(0x80)};
    expect_golden("sync/link-done-1.0.bin", fine({}));
    expect_golden("sync/link-chunk-1.0.bin", fine(link::encode(BlobChunk{(1 << 20) + 3, bytes})));
    expect_golden("sync/link-granted-1.0.bin", fine(link::encode(granted())));
    expect_golden("sync/link-answers-1.0.bin", fine(link::encode(std::span<const Digest>(digests))));
    expect_golden("sync/link-refusal-1.0.bin", reply(Error{Code::unavailable, "version 3 was recycled", {}}, {}));

    EXPECT_THAT(decode_reply(golden_sync("link-refusal")), HasError(Code::unavailable, "version 3 was recycled"));
    EXPECT_TRUE(decode_reply(golden_sync("link-done")).value().empty());
    const auto chunk = golden_sync("link-chunk");
    const auto back = decode_blob_chunk(decode_reply(chunk).value()).value();
    EXPECT_EQ(back.total, (1u << 20) + 3);
    EXPECT_EQ(Bytes(back.bytes.begin(), back.bytes.end()), bytes);
    const auto answers = golden_sync("link-answers");
    EXPECT_EQ(decode_digests(decode_reply(answers).value(), 2).value(), digests);
    EXPECT_THAT(decode_digests(decode_reply(answers).value(), 3), HasError(Code::corrupt, "3 digests were asked for"));
    EXPECT_THAT(decode_digests(decode_reply(answers).value(), 1), HasCode(Code::corrupt));
    const auto hold_frame = golden_sync("link-granted");
    const auto hold_payload = decode_reply(hold_frame).value();
    const auto hold = decode_granted_hold(hold_payload).value();
    EXPECT_EQ(hold.hold.id, 5u);
    EXPECT_EQ(hold.hold.slab, 1u);
    EXPECT_EQ(hold.hold.kind, HoldKind::install);
    EXPECT_EQ(wsync::encode(hold.publication), wsync::encode(granted().publication));
    refuses_another_length(Bytes(hold_payload.begin(), hold_payload.end()), [](BytesView any) { return decode_granted_hold(any); });
}

TEST(LinkGolden, Pushes) {
    expect_golden("sync/link-head-1.0.bin", link::encode(Push(head())));
    expect_golden("sync/link-revoked-1.0.bin", link::encode(Push(Revoked{5})));
    expect_golden(file_of("link-offer"), link::encode(Push(Offer{head(), granted()})));
    const auto decode = [](BytesView bytes) { return decode_push(bytes); };
    const auto offer = std::get<Offer>(decode_push(golden_sync("link-offer")).value());
    EXPECT_EQ(offer.head.version, head().version);
    EXPECT_EQ(link::encode(offer.granted), link::encode(granted()));
    EXPECT_EQ(std::get<HeadRecord>(decode_push(golden_sync("link-head")).value()).version, head().version);
    EXPECT_EQ(std::get<Revoked>(decode_push(golden_sync("link-revoked")).value()).hold, 5u);
    for (const std::string name : {"link-head", "link-revoked", "link-offer"}) {
        refuses_another_length(golden_sync(name), decode);
        EXPECT_FALSE(is_reply(golden_sync(name)));
    }
    EXPECT_TRUE(is_reply(golden_sync("link-refusal")));
    EXPECT_FALSE(is_reply({}));
    EXPECT_THAT(decode_push(golden_sync("link-done")), HasError(Code::corrupt, "unknown type 64"));
    EXPECT_THAT(decode_request(golden_sync("link-done")), HasError(Code::corrupt, "unknown type 64"));
    EXPECT_THAT(decode_reply(golden_sync("link-head")), HasError(Code::corrupt, "is no reply"));
}

TEST(LinkHostile, NumbersThatNothingBacks) {
    auto digests = golden_sync("link-digests");
    for (std::size_t i = 9; i < 13; ++i) digests[i] = std::byte{0xff};
    EXPECT_THAT(decode_request(digests), HasCode(Code::corrupt));
    EXPECT_THAT(decode_request(link::encode(DigestsRequest{1, std::vector<BoxRequest>(kMaxBoxesPerRequest + 1)})), HasError(Code::corrupt, "limit is 4096"));
    EXPECT_OK(decode_request(link::encode(DigestsRequest{1, std::vector<BoxRequest>(kMaxBoxesPerRequest)})));
    auto many_dimensions = golden_sync("link-digests");
    many_dimensions[17] = std::byte{200};
    EXPECT_THAT(decode_request(many_dimensions), HasError(Code::corrupt, "200 dimensions"));
    EXPECT_THAT(decode_blob_chunk(link::encode(BlobChunk{kMaxBlobBytes + 1, {}})), HasError(Code::corrupt, "the limit is"));
    const Bytes some(8);
    EXPECT_THAT(decode_blob_chunk(link::encode(BlobChunk{7, some})), HasError(Code::corrupt, "8 bytes of a blob of 7"));
}

// A refusal's message is cut rather than refused by the reader.
TEST(LinkHostile, LongMessages) {
    const auto frame = reply(Error{Code::internal, std::string(1 << 20, 'x'), {}}, {});
    EXPECT_LE(frame.size(), kMaxReplyBytes);
    EXPECT_THAT(decode_reply(frame), HasCode(Code::internal));
    auto unknown = golden_sync("link-refusal");
    unknown[1] = std::byte{200};
    EXPECT_THAT(decode_reply(unknown), HasError(Code::corrupt, "unknown code 200"));
}

}  // namespace
}  // namespace wsync
