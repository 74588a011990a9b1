// XXH3-128 digests: they detect faults, not attackers.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace wsync {

// The canonical (big-endian) bytes of an XXH3-128.
struct Digest {
    std::array<std::uint8_t, 16> bytes{};

    friend bool operator==(const Digest&, const Digest&) = default;
    friend auto operator<=>(const Digest&, const Digest&) = default;
    // 32 lower-case hexadecimal characters.
    [[nodiscard]] std::string hex() const;
    // The first 8 characters of hex(), for labels.
    [[nodiscard]] std::string short_hex() const { return hex().substr(0, 8); }
};

[[nodiscard]] Digest digest_of(std::span<const std::byte> bytes) noexcept;

// Streaming XXH3-128 (library build). The kernels room has faster one-shot forms for weights.
class Hasher {
public:
    Hasher();
    ~Hasher();
    Hasher(Hasher&&) noexcept;
    Hasher& operator=(Hasher&&) noexcept;
    void reset() noexcept;
    void update(std::span<const std::byte> bytes) noexcept;
    [[nodiscard]] Digest finish() const noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace wsync
