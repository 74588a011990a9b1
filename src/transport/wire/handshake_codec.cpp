#include "transport/wire/handshake_codec.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

enum class Kind : std::uint8_t { hello = 1, challenge = 2, proof = 3, refusal = 4 };

template <class Array>
Result<Array> read_array(ByteReader& in) {
    WSYNC_TRY(const auto piece, in.raw(std::tuple_size_v<Array>));
    Array array{};
    std::copy(piece.begin(), piece.end(), array.begin());
    return array;
}

struct Encoder {
    ByteWriter& out;
    void operator()(const Hello& hello) const { kind(Kind::hello).raw(hello.nonce).text(hello.purpose); }
    void operator()(const Challenge& challenge) const { kind(Kind::challenge).raw(challenge.nonce); }
    void operator()(const Proof& proof) const { kind(Kind::proof).raw(proof.mac); }
    void operator()(Refusal refusal) const { kind(Kind::refusal).u8(static_cast<std::uint8_t>(refusal)); }

private:
    [[nodiscard]] ByteWriter& kind(Kind value) const { return out.u8(static_cast<std::uint8_t>(value)); }
};

Result<HandshakeMessage> decode_body(ByteReader& in) {
    WSYNC_TRY(const auto kind, in.u8());
    switch (static_cast<Kind>(kind)) {
        case Kind::hello: {
            Hello hello;
            WSYNC_TRY(hello.nonce, read_array<Nonce>(in));
            WSYNC_TRY(hello.purpose, in.text(kMaxPurposeBytes));
            return HandshakeMessage{std::move(hello)};
        }
        case Kind::challenge: {
            WSYNC_TRY(const auto nonce, read_array<Nonce>(in));
            return HandshakeMessage{Challenge{nonce}};
        }
        case Kind::proof: {
            WSYNC_TRY(const auto mac, read_array<Mac>(in));
            return HandshakeMessage{Proof{mac}};
        }
        case Kind::refusal: {
            WSYNC_TRY(const auto reason, in.u8());
            return HandshakeMessage{static_cast<Refusal>(reason)};
        }
    }
    return Error{Code::corrupt, fmt::format("handshake holds a message of unknown kind {}", kind), {}};
}

}  // namespace

Bytes encode(const HandshakeMessage& message) {
    ByteWriter out;
    out.begin_record(kHandshakeKind);
    std::visit(Encoder{out}, message);
    return out.take();
}

Result<HandshakeMessage> decode_handshake(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "handshake");
    WSYNC_TRY(const auto minor, in.begin_record(kHandshakeKind));
    WSYNC_TRY(auto message, decode_body(in));
    if (minor == kHandshakeKind.minor) WSYNC_TRY_VOID(in.finish());
    return message;
}

Mac handshake_proof(const Secret& secret, Role role, const Nonce& client, const Nonce& server, std::string_view purpose) {
    const std::byte role_byte{static_cast<std::uint8_t>(role)};
    return hmac_sha256(secret, {as_bytes_of("wsync handshake 1"), std::span(&role_byte, 1), client, server, as_bytes_of(purpose)});
}

}  // namespace wsync
