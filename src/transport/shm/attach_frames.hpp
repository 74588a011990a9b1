// The two frames of a shm attachment, after the handshake: request "WSSA" 1.0, grant "WSSG" 1.0. Where the grant says
// ok, the slab's memfd follows beside one byte.
#pragma once

#include "base/process.hpp"
#include "base/secret.hpp"

namespace wsync::shm {

inline constexpr std::size_t kMaxAttachFrameBytes = 1024;

struct AttachRequest {
    Nonce nonce{};             // of the slab that is wanted
    ProcessIdentity importer;
};
enum class GrantAnswer : std::uint8_t { granted = 0, other_slab = 1, closing = 2, other_user = 3, malformed = 4 };
struct Grant {
    GrantAnswer answer = GrantAnswer::malformed;
};

[[nodiscard]] Bytes encode(const AttachRequest& request);
[[nodiscard]] Bytes encode(const Grant& grant);
// Any bytes: Error{corrupt}, or {unsupported} for another major.
[[nodiscard]] Result<AttachRequest> decode_request(std::span<const std::byte> bytes);
[[nodiscard]] Result<Grant> decode_grant(std::span<const std::byte> bytes);

}  // namespace wsync::shm
