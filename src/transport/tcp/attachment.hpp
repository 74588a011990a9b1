// The first two frames of a stream: what the client wants to read, and what it gets.
#pragma once

#include "base/process.hpp"
#include "base/secret.hpp"

#include <optional>

namespace wsync::tcp {

inline constexpr std::size_t kMaxAttachBytes = 1024;

struct AttachRequest {
    std::uint64_t exposure = 0;
    Nonce nonce{};
    ProcessIdentity client;   // so that the exporter on the same host sees it die
};

struct AttachReply {
    std::optional<Error> refusal;
    std::uint64_t region_bytes = 0;
    bool writable = false;
};

[[nodiscard]] Bytes encode(const AttachRequest& request);
[[nodiscard]] Bytes encode(const AttachReply& reply);
[[nodiscard]] Result<AttachRequest> decode_attach_request(std::span<const std::byte> bytes);
[[nodiscard]] Result<AttachReply> decode_attach_reply(std::span<const std::byte> bytes);

}  // namespace wsync::tcp
