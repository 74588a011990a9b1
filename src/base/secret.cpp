#include "base/secret.hpp"

#include <cerrno>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <sys/random.h>

namespace wsync {
namespace {

template <class Array>
Result<Array> random_array() {
    Array array{};
    std::size_t filled = 0;
    while (filled < array.size()) {
        const ssize_t n = ::getrandom(array.data() + filled, array.size() - filled, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno_error(errno, "reading random bytes");
        }
        filled += static_cast<std::size_t>(n);
    }
    return array;
}

}  // namespace

Result<Secret> random_secret() { return random_array<Secret>(); }
Result<Nonce> random_nonce() { return random_array<Nonce>(); }

Mac hmac_sha256(const Secret& secret, std::initializer_list<std::span<const std::byte>> parts) {
    Bytes message;
    for (auto part : parts) message.insert(message.end(), part.begin(), part.end());
    Mac mac{};
    unsigned int size = 0;
    ::HMAC(::EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(),
           reinterpret_cast<unsigned char*>(mac.data()), &size);
    return mac;
}

bool equal(const Mac& a, const Mac& b) noexcept { return ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

}  // namespace wsync
