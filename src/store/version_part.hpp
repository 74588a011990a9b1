// What one rank's part of a version on disk says about itself, until the version is whole. Pure, no I/O.
#pragma once

#include "verify/block_digests.hpp"
#include "wsync/model/version.hpp"

namespace wsync {

inline constexpr std::uint64_t kMaxVersionPartBytes = std::uint64_t{1} << 30;

// The record "WSVP" 1.0 in wsync.part-RANK.
struct VersionPart {
    Version version;            // without its digest, which only all parts together have
    std::uint32_t rank = 0, ranks = 1;
    Digest layout{};            // of all ranks
    Digest files{};             // how the tensors are cut into files, headers included
    BlockDigests blocks;        // of all that the rank holds
    friend bool operator==(const VersionPart&, const VersionPart&) = default;
};

// "wsync.part-2"
[[nodiscard]] std::string part_name(std::uint32_t rank);
[[nodiscard]] Bytes encode(const VersionPart& part);
[[nodiscard]] Result<VersionPart> decode_version_part(std::span<const std::byte> bytes, std::string_view file_name);

}  // namespace wsync
