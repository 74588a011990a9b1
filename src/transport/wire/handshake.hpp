// Both sides of the handshake over a fresh stream (stream.hpp says what is proved).
#pragma once

#include "transport/wire/stream.hpp"

#include <functional>

namespace wsync {

// The client's side: returns when the server has proved itself too.
[[nodiscard]] Status offer_handshake(Stream& stream, const Handshake& handshake, Deadline deadline);

// The server's side. `admit` is asked once the client has proved itself; where it answers false the client is told that
// the server is busy, and the answer is Error{resource_exhausted}.
[[nodiscard]] Status answer_handshake(Stream& stream, const Handshake& handshake, const std::function<bool()>& admit, Deadline deadline);

}  // namespace wsync
