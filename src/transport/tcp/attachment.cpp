#include "transport/tcp/attachment.hpp"

#include "transport/tcp/request.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace wsync::tcp {
namespace {

constexpr RecordKind kRequestKind{"WTCA", 1, 0};
constexpr RecordKind kReplyKind{"WTCB", 1, 0};
constexpr std::size_t kMaxReasonBytes = 400;

}  // namespace

Bytes encode(const AttachRequest& request) {
    ByteWriter out;
    out.begin_record(kRequestKind).u64(request.exposure).raw(request.nonce);
    write(out, request.client);
    return out.take();
}

Bytes encode(const AttachReply& reply) {
    ByteWriter out;
    out.begin_record(kReplyKind);
    out.u16(reply.refusal ? wire_status(false, reply.refusal->code) : wire_status(true, Code::internal));
    out.u64(reply.region_bytes).u8(reply.writable ? 1 : 0);
    out.text(reply.refusal ? std::string_view(reply.refusal->message).substr(0, kMaxReasonBytes) : std::string_view{});
    return out.take();
}

Result<AttachRequest> decode_attach_request(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "tcp attach request");
    WSYNC_TRY(const auto minor, in.begin_record(kRequestKind));
    AttachRequest request;
    WSYNC_TRY(request.exposure, in.u64());
    WSYNC_TRY(const auto nonce, in.raw(request.nonce.size()));
    std::copy(nonce.begin(), nonce.end(), request.nonce.begin());
    WSYNC_TRY(request.client, read_process_identity(in));
    if (minor == kRequestKind.minor) WSYNC_TRY_VOID(in.finish());
    return request;
}

Result<AttachReply> decode_attach_reply(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "tcp attach reply");
    WSYNC_TRY(const auto minor, in.begin_record(kReplyKind));
    AttachReply reply;
    WSYNC_TRY(const auto status, in.u16());
    if (!known_status(status)) return Error{Code::corrupt, fmt::format("tcp attach reply: status {} does not exist", status)};
    WSYNC_TRY(reply.region_bytes, in.u64());
    WSYNC_TRY(const auto writable, in.u8());
    reply.writable = writable != 0;
    WSYNC_TRY(auto reason, in.text(kMaxReasonBytes));
    if (status != 0) reply.refusal = Error{static_cast<Code>(status - 1), std::move(reason)};
    if (minor == kReplyKind.minor) WSYNC_TRY_VOID(in.finish());
    return reply;
}

}  // namespace wsync::tcp
