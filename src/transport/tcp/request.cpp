#include "transport/tcp/request.hpp"

#include <fmt/format.h>

namespace wsync::tcp {
namespace {

constexpr std::uint32_t kRequestMagic = 0x51435457;   // "WTCQ"
constexpr std::uint32_t kResponseMagic = 0x52435457;  // "WTCR"
constexpr std::uint32_t kTrailerMagic = 0x45435457;   // "WTCE"
constexpr std::uint16_t kStatuses = static_cast<std::uint16_t>(Code::internal) + 2;

// Frames are small and many: they are stored and loaded byte by byte in place, which compilers make one move of.
template <class T>
void store(std::byte* to, T value) noexcept {
    for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i));
}
template <class T>
T load(const std::byte* from) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= static_cast<std::uint64_t>(from[i]) << (8 * i);
    return static_cast<T>(value);
}

void store_head(std::byte* to, std::uint32_t magic) noexcept {
    store(to, magic);
    store(to + 4, kMajor);
    store(to + 5, kMinor);
}

Status check_head(const std::byte* from, std::uint32_t magic, std::string_view what) {
    if (load<std::uint32_t>(from) != magic) {
        return Error{Code::corrupt, fmt::format("tcp {}: magic is {:#010x}, not {:#010x}: the stream is out of step", what, load<std::uint32_t>(from), magic)};
    }
    if (load<std::uint8_t>(from + 4) != kMajor) {
        return Error{Code::unsupported, fmt::format("tcp {}: the peer speaks {}.{}, this build {}.{}: use the same release on both sides", what,
                                                    load<std::uint8_t>(from + 4), load<std::uint8_t>(from + 5), kMajor, kMinor)};
    }
    return {};
}

Result<std::pair<bool, Code>> read_status(const std::byte* from, std::string_view what) {
    const auto status = load<std::uint16_t>(from);
    if (!known_status(status)) return Error{Code::corrupt, fmt::format("tcp {}: status {} does not exist", what, status)};
    if (status == 0) return std::pair{true, Code::internal};
    return std::pair{false, static_cast<Code>(status - 1)};
}

}  // namespace

std::uint16_t wire_status(bool ok, Code code) noexcept { return ok ? std::uint16_t{0} : static_cast<std::uint16_t>(static_cast<unsigned>(code) + 1); }

bool known_status(std::uint16_t status) noexcept { return status < kStatuses; }

std::array<std::byte, kRequestBytes> encode(const Request& request) noexcept {
    std::array<std::byte, kRequestBytes> out{};
    store_head(out.data(), kRequestMagic);
    store(out.data() + 6, static_cast<std::uint8_t>(request.op));
    store(out.data() + 8, request.sequence);
    store(out.data() + 16, request.received);
    store(out.data() + 24, request.range.offset);
    store(out.data() + 32, request.range.stride);
    store(out.data() + 40, request.range.row_bytes);
    store(out.data() + 48, request.range.rows);
    store(out.data() + 56, request.generation);
    return out;
}

std::array<std::byte, kResponseBytes> encode(const Response& response) noexcept {
    std::array<std::byte, kResponseBytes> out{};
    store_head(out.data(), kResponseMagic);
    store(out.data() + 6, wire_status(response.ok, response.code));
    store(out.data() + 8, response.sequence);
    store(out.data() + 16, response.count);
    store(out.data() + 24, response.bytes);
    return out;
}

std::array<std::byte, kTrailerBytes> encode(const Trailer& trailer) noexcept {
    std::array<std::byte, kTrailerBytes> out{};
    store_head(out.data(), kTrailerMagic);
    store(out.data() + 6, wire_status(trailer.ok, trailer.code));
    return out;
}

Result<Request> decode_request(std::span<const std::byte, kRequestBytes> bytes) {
    WSYNC_TRY_VOID(check_head(bytes.data(), kRequestMagic, "request"));
    Request request;
    const auto op = load<std::uint8_t>(bytes.data() + 6);
    if (op < static_cast<std::uint8_t>(RequestOp::read) || op > static_cast<std::uint8_t>(RequestOp::acknowledge)) {
        return Error{Code::corrupt, fmt::format("tcp request: operation {} does not exist", op)};
    }
    request.op = static_cast<RequestOp>(op);
    request.sequence = load<std::uint64_t>(bytes.data() + 8);
    request.received = load<std::uint64_t>(bytes.data() + 16);
    request.range.offset = load<std::uint64_t>(bytes.data() + 24);
    request.range.stride = load<std::uint64_t>(bytes.data() + 32);
    request.range.row_bytes = load<std::uint64_t>(bytes.data() + 40);
    request.range.rows = load<std::uint64_t>(bytes.data() + 48);
    request.generation = load<std::uint64_t>(bytes.data() + 56);
    return request;
}

Result<Response> decode_response(std::span<const std::byte, kResponseBytes> bytes) {
    WSYNC_TRY_VOID(check_head(bytes.data(), kResponseMagic, "response"));
    WSYNC_TRY(auto status, read_status(bytes.data() + 6, "response"));
    Response response;
    response.ok = status.first;
    response.code = status.second;
    response.sequence = load<std::uint64_t>(bytes.data() + 8);
    response.count = load<std::uint32_t>(bytes.data() + 16);
    response.bytes = load<std::uint64_t>(bytes.data() + 24);
    if (response.count == 0) return Error{Code::corrupt, "tcp response: it answers no request"};
    if (!response.ok && (response.count != 1 || response.bytes != 0)) {
        return Error{Code::corrupt, fmt::format("tcp response: a refusal of {} requests with {} bytes", response.count, response.bytes)};
    }
    return response;
}

Result<Trailer> decode_trailer(std::span<const std::byte, kTrailerBytes> bytes) {
    WSYNC_TRY_VOID(check_head(bytes.data(), kTrailerMagic, "trailer"));
    WSYNC_TRY(auto status, read_status(bytes.data() + 6, "trailer"));
    return Trailer{status.first, status.second};
}

}  // namespace wsync::tcp
