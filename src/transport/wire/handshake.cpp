#include "transport/wire/handshake.hpp"

#include "transport/wire/handshake_codec.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

Error refusal_error(Refusal refusal, const StreamPeer& peer, std::string_view purpose) {
    switch (refusal) {
        case Refusal::wrong_secret:
            return Error{Code::invalid_argument, fmt::format("{} does not know the secret that we have: wrong secret", peer.name), {}};
        case Refusal::wrong_purpose:
            return Error{Code::invalid_argument, fmt::format("{} does not serve \"{}\": wrong endpoint", peer.name, purpose), {}};
        case Refusal::busy:
            return Error{Code::unavailable, fmt::format("{} serves as many connections as it may: try again, or raise its limit", peer.name), {}};
        case Refusal::other_version:
            return Error{Code::unsupported, fmt::format("{} refused the handshake {}.{}: upgrade the older side", peer.name, kHandshakeKind.major, kHandshakeKind.minor), {}};
        case Refusal::malformed:
            break;
    }
    return Error{Code::corrupt, fmt::format("{} refused the handshake (reason {})", peer.name, static_cast<int>(refusal)), {}};
}

Error out_of_turn(const StreamPeer& peer) { return Error{Code::corrupt, fmt::format("{} sent a handshake message out of turn", peer.name), {}}; }

Status send_message(Stream& stream, const HandshakeMessage& message, Deadline deadline) {
    return stream.send_frame(encode(message), deadline);
}

// The next message if it is a T.
template <class T>
Result<T> expect(Stream& stream, std::string_view purpose, Deadline deadline) {
    WSYNC_TRY(const auto frame, stream.receive_frame(kMaxHandshakeBytes, deadline));
    WSYNC_TRY(auto message, decode_handshake(frame));
    if (const auto* refusal = std::get_if<Refusal>(&message)) return refusal_error(*refusal, stream.peer(), purpose);
    if (auto* wanted = std::get_if<T>(&message)) return std::move(*wanted);
    return out_of_turn(stream.peer());
}

// Tells the client why, as far as he still listens; the error is ours to return.
Error refuse(Stream& stream, Refusal refusal, Error error, Deadline deadline) {
    (void)send_message(stream, refusal, deadline);
    return error;
}

Status offer(Stream& stream, const Handshake& handshake, Deadline deadline) {
    if (handshake.purpose.size() > kMaxPurposeBytes) {
        return Error{Code::invalid_argument, fmt::format("the purpose \"{}\" is longer than {} bytes", handshake.purpose, kMaxPurposeBytes), {}};
    }
    WSYNC_TRY(const auto nonce, random_nonce());
    WSYNC_TRY_VOID(send_message(stream, Hello{handshake.purpose, nonce}, deadline));
    WSYNC_TRY(const auto challenge, expect<Challenge>(stream, handshake.purpose, deadline));
    const auto ours = handshake_proof(handshake.secret, Role::client, nonce, challenge.nonce, handshake.purpose);
    WSYNC_TRY_VOID(send_message(stream, Proof{ours}, deadline));
    WSYNC_TRY(const auto proof, expect<Proof>(stream, handshake.purpose, deadline));
    if (!equal(proof.mac, handshake_proof(handshake.secret, Role::server, nonce, challenge.nonce, handshake.purpose))) {
        return refusal_error(Refusal::wrong_secret, stream.peer(), handshake.purpose);
    }
    return {};
}

Status answer(Stream& stream, const Handshake& handshake, const std::function<bool()>& admit, Deadline deadline) {
    WSYNC_TRY(const auto nonce, random_nonce());
    auto hello = expect<Hello>(stream, handshake.purpose, deadline);
    if (!hello) {
        // Silence and death have nobody who could be told.
        const Code code = hello.error().code;
        if (code == Code::unsupported) return refuse(stream, Refusal::other_version, std::move(hello).error(), deadline);
        if (code == Code::corrupt) return refuse(stream, Refusal::malformed, std::move(hello).error(), deadline);
        return std::move(hello).error();
    }
    if (hello->purpose != handshake.purpose) {
        return refuse(stream, Refusal::wrong_purpose,
                      Error{Code::invalid_argument, fmt::format("{} asked for another purpose than \"{}\"", stream.peer().name, handshake.purpose), {}}, deadline);
    }
    WSYNC_TRY_VOID(send_message(stream, Challenge{nonce}, deadline));
    WSYNC_TRY(const auto proof, expect<Proof>(stream, handshake.purpose, deadline));
    if (!equal(proof.mac, handshake_proof(handshake.secret, Role::client, hello->nonce, nonce, handshake.purpose))) {
        return refuse(stream, Refusal::wrong_secret, refusal_error(Refusal::wrong_secret, stream.peer(), handshake.purpose), deadline);
    }
    if (!admit()) {
        return refuse(stream, Refusal::busy, Error{Code::resource_exhausted, "as many connections as may be are served already", {}}, deadline);
    }
    const auto ours = handshake_proof(handshake.secret, Role::server, hello->nonce, nonce, handshake.purpose);
    return send_message(stream, Proof{ours}, deadline);
}

}  // namespace

Status offer_handshake(Stream& stream, const Handshake& handshake, Deadline deadline) {
    return offer(stream, handshake, deadline).within(fmt::format("shaking hands with {}", stream.peer().name));
}

Status answer_handshake(Stream& stream, const Handshake& handshake, const std::function<bool()>& admit, Deadline deadline) {
    return answer(stream, handshake, admit, deadline).within(fmt::format("shaking hands with {}", stream.peer().name));
}

}  // namespace wsync
