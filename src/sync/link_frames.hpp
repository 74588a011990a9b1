// The frames of a link (format "WSLK" 1.0): a type, then its fields. See link.hpp for who says what.
#pragma once

#include "sync/link.hpp"

namespace wsync::link {

inline constexpr RecordKind kKind{"WSLK", 1, 0};
inline constexpr std::size_t kMaxRequestBytes = 1 << 20;
inline constexpr std::size_t kMaxReplyBytes = kBlobChunkBytes + 4096;

enum class Type : std::uint8_t {
    hello = 1,    // record kind, process, name of the receiver
    blob = 2,     // digest, offset -> total, chunk
    hold = 3,     // number, kind -> hold, publication record
    check = 4,    // hold id, release
    release = 5,  // hold id; no answer
    digests = 6,  // hold id, boxes -> digests
    reply = 64,   // code (0: fine, else 1 + Code and a message), payload
    head = 65,    // pushed
    revoked = 66, // pushed: hold id
};

[[nodiscard]] ByteWriter request(Type type);
[[nodiscard]] Bytes reply(const Status& status, std::span<const std::byte> payload);
// The payload of a reply whose type byte was taken already, or the error it carries.
[[nodiscard]] Result<Bytes> decode_reply(ByteReader& in);

void write(ByteWriter& out, const Hold& hold);
[[nodiscard]] Result<Hold> read_hold(ByteReader& in);
void write(ByteWriter& out, const Box& box);
[[nodiscard]] Result<Box> read_box(ByteReader& in);

}  // namespace wsync::link
