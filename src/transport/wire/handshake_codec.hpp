// The messages of the handshake, as bytes: frames of at most kMaxHandshakeBytes, each a record "WSHS" 1.0.
//
// client: hello{purpose, nonce}; server: challenge{nonce}; client: proof; server: proof. Instead of each of its answers
// the server may send a refusal. A refusal is not authenticated: it can only end what would otherwise go on.
#pragma once

#include "base/secret.hpp"

#include <string>
#include <variant>

namespace wsync {

inline constexpr std::size_t kMaxHandshakeBytes = 256, kMaxPurposeBytes = 32;
inline constexpr RecordKind kHandshakeKind{"WSHS", 1, 0};

enum class Refusal : std::uint8_t { wrong_secret = 1, wrong_purpose = 2, busy = 3, other_version = 4, malformed = 5 };

struct Hello {
    std::string purpose;
    Nonce nonce{};
};
struct Challenge {
    Nonce nonce{};
};
struct Proof {
    Mac mac{};
};
using HandshakeMessage = std::variant<Hello, Challenge, Proof, Refusal>;

[[nodiscard]] Bytes encode(const HandshakeMessage& message);
// Any bytes. Error{corrupt}: no such message; Error{unsupported}: another major, both named.
[[nodiscard]] Result<HandshakeMessage> decode_handshake(std::span<const std::byte> bytes);

// HMAC-SHA256(secret, label || role || client nonce || server nonce || purpose).
enum class Role : std::uint8_t { client = 'c', server = 's' };
[[nodiscard]] Mac handshake_proof(const Secret& secret, Role role, const Nonce& client, const Nonce& server, std::string_view purpose);

}  // namespace wsync
