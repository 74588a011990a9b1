// The frames of a link, in both directions and every payload of a reply: any bytes give a value that encodes to a frame
// which decodes again, or an Error.
#include "sync/link_frames.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace wsync;

void require(bool holds) {
    if (!holds) std::abort();
}

template <class T, class Again>
void check(std::span<const std::byte> bytes, const Result<T>& decoded, Again decode) {
    if (!decoded.has_value()) {
        require(decoded.error().code == Code::corrupt || decoded.error().code == Code::unsupported);
        return;
    }
    const Bytes first = link::encode(*decoded);
    const auto back = decode(std::span<const std::byte>(first));
    require(back.has_value());
    const Bytes second = link::encode(*back);
    require(first == second && first.size() <= bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    check(bytes, link::decode_request(bytes), [](auto again) { return link::decode_request(again); });
    check(bytes, link::decode_push(bytes), [](auto again) { return link::decode_push(again); });
    const auto payload = link::decode_reply(bytes);
    require(!payload || link::is_reply(bytes));
    // Payloads both as they come and behind a reply's head.
    for (const auto part : {bytes, payload ? *payload : std::span<const std::byte>()}) {
        check(part, link::decode_welcome(part), [](auto again) { return link::decode_welcome(again); });
        check(part, link::decode_blob_chunk(part), [](auto again) { return link::decode_blob_chunk(again); });
        check(part, link::decode_granted_hold(part), [](auto again) { return link::decode_granted_hold(again); });
        const auto digests = link::decode_digests(part, part.size() / sizeof(Digest));
        require(digests.has_value() == (part.size() % sizeof(Digest) == 0));
    }
    return 0;
}
