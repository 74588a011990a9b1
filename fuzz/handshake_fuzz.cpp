// Handshakes and shm attachments come from strangers: any bytes give a message that encodes to them again, or an Error.
#include "transport/shm/attach_frames.hpp"
#include "transport/wire/handshake_codec.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace wsync;

template <class T, class Encode>
void check(std::span<const std::byte> bytes, const Result<T>& decoded, Encode encode) {
    if (!decoded.has_value()) {
        if (decoded.error().code != Code::corrupt && decoded.error().code != Code::unsupported) std::abort();
        return;
    }
    const Bytes again = encode(*decoded);
    // A newer minor (bytes 6 and 7) may have appended something.
    if (again.size() > bytes.size() || !std::equal(again.begin() + 8, again.end(), bytes.begin() + 8)) std::abort();
    if (bytes[6] == std::byte{0} && bytes[7] == std::byte{0} && again.size() != bytes.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    check(bytes, decode_handshake(bytes), [](const auto& message) { return encode(message); });
    check(bytes, shm::decode_request(bytes), [](const auto& request) { return shm::encode(request); });
    check(bytes, shm::decode_grant(bytes), [](const auto& grant) { return shm::encode(grant); });
    return 0;
}
