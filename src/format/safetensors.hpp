// The header of a safetensors file: bytes <-> Manifest and offsets. Pure, no I/O.
//
// A file is an unsigned little-endian 64-bit N, N bytes of JSON that begin with '{' and may end in spaces, and the
// tensors' bytes without holes, overlaps or anything behind them. Whatever else it holds is refused: Error{corrupt} says
// what is wrong with which tensor, Error{unsupported} names a type or a rank that wsync does not know. Nothing is
// allocated on the word of a header: memory is a small multiple of the header's own bytes.
#pragma once

#include "base/bytes.hpp"
#include "wsync/model/manifest.hpp"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

inline constexpr std::uint64_t kSafetensorsLengthBytes = 8;
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // of the JSON, as the reference has it
inline constexpr std::uint64_t kSafetensorsDataAlignment = 4096;

using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsHeader {
    Manifest manifest;                  // ordered by offset
    std::vector<std::uint64_t> begins;  // of each tensor in the data buffer, in the manifest's order
    SafetensorsMetadata metadata;       // "__metadata__"
    std::uint64_t header_bytes = 0;     // where the data buffer begins in the file: 8 + N
    std::uint64_t data_bytes = 0;
};

// 8 + N from the first 8 bytes of a file, checked against the limit and the file's size.
[[nodiscard]] Result<std::uint64_t> safetensors_header_bytes(std::span<const std::byte> first8, std::uint64_t file_size,
                                                             std::string_view file_name = "the safetensors file");

// `header` is the first safetensors_header_bytes() of the file.
[[nodiscard]] Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> header, std::uint64_t file_size, std::string_view file_name);

// The header (length included) of a file that holds the manifest's tensors in its order, one behind the other; padded
// with spaces, so that the data begins on a multiple of `alignment` (a power of two from 8 to 1 MiB).
// Error{invalid_argument} for metadata that is not UTF-8, a tensor named "__metadata__", or a header beyond the limit.
[[nodiscard]] Result<Bytes> make_safetensors_header(const Manifest& manifest, const SafetensorsMetadata& metadata,
                                                    std::uint64_t alignment = kSafetensorsDataAlignment);

// The order in which to write the tensors, as indices in the manifest: its own where that leaves every tensor on a
// multiple of its element, otherwise larger elements first (stable). The format allows any order, but torch's reader
// can't view a tensor that is not aligned.
[[nodiscard]] std::vector<std::uint32_t> safetensors_order(const Manifest& manifest);

}  // namespace wsync
