// Shared secrets and nonces: HMAC-SHA256 by libcrypto. A secret proves a peer; it encrypts nothing.
#pragma once

#include "base/bytes.hpp"

#include <array>

namespace wsync {

using Secret = std::array<std::byte, 32>;
using Nonce = std::array<std::byte, 16>;
using Mac = std::array<std::byte, 32>;

// From the system's random source.
[[nodiscard]] Result<Secret> random_secret();
[[nodiscard]] Result<Nonce> random_nonce();

// HMAC-SHA256 of the concatenated parts.
[[nodiscard]] Mac hmac_sha256(const Secret& secret, std::initializer_list<std::span<const std::byte>> parts);

// In constant time.
[[nodiscard]] bool equal(const Mac& a, const Mac& b) noexcept;

}  // namespace wsync
