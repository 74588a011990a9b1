// The frames of a TCP stream after its attachment: fixed-size, little-endian, each with magic and major.minor.
//
// The client sends requests (a write's payload follows its request); the server answers in their order. One response
// answers `count` consecutive reads: header, their bytes packed one behind the other, trailer. The trailer says whether
// the bytes may be used: a slab's generation that moved while they were sent can't take them back. A refused request and
// a write are answered by a header alone with count 1. `received` tells the server how many answers the client holds
// whole, so that it knows when a region's pages are no longer on their way.
//
// decode_* take any bytes: Error{corrupt} for what is no frame, Error{unsupported} for another major. They check no
// offset: that is for whoever knows the region.
#pragma once

#include "transport/tcp/strided.hpp"
#include "wsync/base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace wsync::tcp {

inline constexpr std::uint8_t kMajor = 1, kMinor = 0;
inline constexpr std::size_t kRequestBytes = 64, kResponseBytes = 32, kTrailerBytes = 8;

enum class RequestOp : std::uint8_t {
    read = 1,
    write = 2,
    acknowledge = 3,  // nothing but `received`; has no sequence and is not answered
};

struct Request {
    RequestOp op = RequestOp::read;
    std::uint64_t sequence = 0;    // 0, 1, 2, ... on each stream
    std::uint64_t received = 0;    // answers received whole so far
    Strided range{};               // of the attached region
    std::uint64_t generation = 0;  // 0: not compared
};

struct Response {
    Code code = Code::internal;    // meaningless when ok
    bool ok = false;
    std::uint64_t sequence = 0;    // of the first request that is answered
    std::uint32_t count = 0;       // how many
    std::uint64_t bytes = 0;       // of payload
};

struct Trailer {
    bool ok = false;
    Code code = Code::internal;
};

[[nodiscard]] std::array<std::byte, kRequestBytes> encode(const Request& request) noexcept;
[[nodiscard]] std::array<std::byte, kResponseBytes> encode(const Response& response) noexcept;
[[nodiscard]] std::array<std::byte, kTrailerBytes> encode(const Trailer& trailer) noexcept;

[[nodiscard]] Result<Request> decode_request(std::span<const std::byte, kRequestBytes> bytes);
[[nodiscard]] Result<Response> decode_response(std::span<const std::byte, kResponseBytes> bytes);
[[nodiscard]] Result<Trailer> decode_trailer(std::span<const std::byte, kTrailerBytes> bytes);

// A status on the wire: 0 is ok, the others are Code + 1 in the order of wsync/base/error.hpp.
[[nodiscard]] std::uint16_t wire_status(bool ok, Code code) noexcept;
// Nothing: no such status.
[[nodiscard]] bool known_status(std::uint16_t status) noexcept;

}  // namespace wsync::tcp
