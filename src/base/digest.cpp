#include "wsync/base/digest.hpp"

#include <cstring>
#define XXH_STATIC_LINKING_ONLY  // for the state's size, so that it can live in our own allocation
#include <xxhash.h>

namespace wsync {
namespace {

Digest canonical(XXH128_hash_t hash) noexcept {
    XXH128_canonical_t canon;
    XXH128_canonicalFromHash(&canon, hash);
    Digest digest;
    static_assert(sizeof canon.digest == sizeof digest.bytes);
    std::memcpy(digest.bytes.data(), canon.digest, sizeof canon.digest);
    return digest;
}

}  // namespace

std::string Digest::hex() const {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (auto byte : bytes) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

Digest digest_of(std::span<const std::byte> bytes) noexcept { return canonical(XXH3_128bits(bytes.data(), bytes.size())); }

struct Hasher::State {
    XXH3_state_t xxh;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { reset(); }
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
void Hasher::reset() noexcept { XXH3_128bits_reset(&state_->xxh); }
void Hasher::update(std::span<const std::byte> bytes) noexcept { XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size()); }
Digest Hasher::finish() const noexcept { return canonical(XXH3_128bits_digest(&state_->xxh)); }

}  // namespace wsync
