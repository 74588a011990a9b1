#include "transport/shm/attach_frames.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync::shm {
namespace {

constexpr RecordKind kRequest{"WSSA", 1, 0}, kGrant{"WSSG", 1, 0};

}  // namespace

Bytes encode(const AttachRequest& request) {
    ByteWriter out;
    out.begin_record(kRequest).raw(request.nonce);
    write(out, request.importer);
    return out.take();
}

Bytes encode(const Grant& grant) {
    ByteWriter out;
    out.begin_record(kGrant).u8(static_cast<std::uint8_t>(grant.answer));
    return out.take();
}

Result<AttachRequest> decode_request(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "shm attach request");
    WSYNC_TRY(const auto minor, in.begin_record(kRequest));
    AttachRequest request;
    WSYNC_TRY(const auto nonce, in.raw(request.nonce.size()));
    std::copy(nonce.begin(), nonce.end(), request.nonce.begin());
    WSYNC_TRY(request.importer, read_process_identity(in));
    if (minor == kRequest.minor) WSYNC_TRY_VOID(in.finish());
    return request;
}

Result<Grant> decode_grant(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "shm grant");
    WSYNC_TRY(const auto minor, in.begin_record(kGrant));
    WSYNC_TRY(const auto answer, in.u8());
    if (minor == kGrant.minor) WSYNC_TRY_VOID(in.finish());
    if (answer > static_cast<std::uint8_t>(GrantAnswer::malformed)) return Error{Code::corrupt, fmt::format("shm grant holds the answer {}", answer), {}};
    return Grant{static_cast<GrantAnswer>(answer)};
}

}  // namespace wsync::shm
