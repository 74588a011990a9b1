// The frames of a link (format "WSLK" 1.1): a type byte, then its fields. See link.hpp for who says what.
//
// Hello and welcome carry the format's version, and a newer minor may append to them. After them each side knows the
// other's minor and speaks the lower one: nothing follows the fields of any other frame.
#pragma once

#include "sync/link.hpp"

#include <variant>

namespace wsync::link {

inline constexpr RecordKind kKind{"WSLK", 1, 1};
inline constexpr std::uint16_t kMinorOfOffers = 1;  // claim and offer; a receiver of an older one is sent plain heads
inline constexpr std::size_t kMaxRequestBytes = 1 << 20;
inline constexpr std::size_t kMaxReplyBytes = kBlobChunkBytes + 4096;
inline constexpr std::size_t kMaxMessageBytes = 4000;  // of a refusal; a longer one is cut

enum class Type : std::uint8_t {
    hello = 1,    // record kind, process, name of the receiver -> welcome
    blob = 2,     // digest, offset -> total, chunk
    hold = 3,     // number, kind -> hold, publication record
    check = 4,    // hold id, release -> nothing
    release = 5,  // hold id; no answer
    digests = 6,  // hold id, boxes -> digests
    claim = 7,    // hold id that was offered; no answer
    reply = 64,   // code (0: fine, else 1 + Code and a message), payload
    head = 65,    // pushed: head record
    revoked = 66, // pushed: hold id
    offer = 67,   // pushed: head record, and a hold on it with its publication record
};

// From the receiver.
struct Hello {
    ProcessIdentity process;
    std::string receiver;
    std::uint16_t minor = kKind.minor;    // that it speaks
};
struct BlobRequest {
    Digest digest{};
    std::uint64_t offset = 0;
};
struct HoldRequest {
    std::uint64_t number = 0;
    HoldKind kind = HoldKind::copy;
};
struct CheckRequest {
    std::uint64_t hold = 0;
    bool release = false;
};
struct ReleaseRequest {
    std::uint64_t hold = 0;
};
struct ClaimRequest {
    std::uint64_t hold = 0;
};
struct DigestsRequest {
    std::uint64_t hold = 0;
    std::vector<BoxRequest> boxes;        // at most kMaxBoxesPerRequest
};
using Request = std::variant<Hello, BlobRequest, HoldRequest, CheckRequest, ReleaseRequest, DigestsRequest, ClaimRequest>;
[[nodiscard]] Bytes encode(const Request& request);
// Error{unsupported} names both sides where a hello has another major.
[[nodiscard]] Result<Request> decode_request(std::span<const std::byte> frame);

// From the publisher, unasked.
struct Revoked {
    std::uint64_t hold = 0;
};
struct Offer {
    HeadRecord head;
    GrantedHold granted;
};
using Push = std::variant<HeadRecord, Revoked, Offer>;
[[nodiscard]] Bytes encode(const Push& push);
[[nodiscard]] Result<Push> decode_push(std::span<const std::byte> frame);

// The answer to a request.
[[nodiscard]] Bytes reply(const Status& status, std::span<const std::byte> payload);
[[nodiscard]] bool is_reply(std::span<const std::byte> frame);
// Its payload (in the frame), or the error it carries.
[[nodiscard]] Result<std::span<const std::byte>> decode_reply(std::span<const std::byte> frame);

// The payloads.
struct Welcome {
    std::optional<HeadRecord> head;       // the newest whole version, where there is one
};
struct BlobChunk {
    std::uint64_t total = 0;              // of the whole blob, at most kMaxBlobBytes
    std::span<const std::byte> bytes;     // borrowed
};
[[nodiscard]] Bytes encode(const Welcome& welcome);
[[nodiscard]] Bytes encode(const BlobChunk& chunk);
[[nodiscard]] Bytes encode(const GrantedHold& granted);
[[nodiscard]] Bytes encode(std::span<const Digest> digests);
[[nodiscard]] Result<Welcome> decode_welcome(std::span<const std::byte> payload);
[[nodiscard]] Result<BlobChunk> decode_blob_chunk(std::span<const std::byte> payload);
[[nodiscard]] Result<GrantedHold> decode_granted_hold(std::span<const std::byte> payload);
[[nodiscard]] Result<std::vector<Digest>> decode_digests(std::span<const std::byte> payload, std::size_t count);

}  // namespace wsync::link
