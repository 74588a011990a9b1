// What a version's directory says about itself: wsync.json, written last, and wsync.digests beside it. Pure, no I/O.
//
// wsync.json is {"schema": "wsync.version/1", ...}: an unknown major is refused, naming both; a higher minor may bring
// keys that are passed over. It holds the digest of wsync.digests, which holds the tensors in the publisher's order and
// the digest of every block; so one digest vouches for every byte.
#pragma once

#include "base/bytes.hpp"
#include "verify/block_digests.hpp"
#include "wsync/model/layout.hpp"
#include "wsync/model/version.hpp"

#include <string>
#include <vector>

namespace wsync {

inline constexpr std::string_view kVersionFile = "wsync.json";
inline constexpr std::string_view kDigestsFile = "wsync.digests";
inline constexpr std::uint64_t kMaxVersionFileBytes = 16 << 20;

struct WeightsFile {
    std::string name;           // in the directory
    std::uint64_t bytes = 0;
    Digest header_digest{};     // of everything in front of the tensors' bytes
    friend bool operator==(const WeightsFile&, const WeightsFile&) = default;
};
// Everything else: the digests, the index, what the publisher added (config.json).
struct SideFile {
    std::string name;
    std::uint64_t bytes = 0;
    Digest digest{};
    friend bool operator==(const SideFile&, const SideFile&) = default;
};

struct VersionManifest {
    Version version;
    // Of how the digests are cut (VersionDigests::boxes), and of them all. The same as version.digest where that was not
    // given.
    Digest layout_digest{}, content_digest{};
    std::vector<WeightsFile> files;
    std::vector<SideFile> side_files;
    bool complete = true;       // a reader refuses false
    friend bool operator==(const VersionManifest&, const VersionManifest&) = default;
};

[[nodiscard]] std::string encode(const VersionManifest& manifest);
// Error{corrupt} says what is wrong where, {unsupported}: another major.
[[nodiscard]] Result<VersionManifest> decode_version_manifest(std::string_view text, std::string_view file_name);

// The record "WSVD" in wsync.digests: 1.0 holds the tensors whole (a manifest's record), 2.0 the boxes that several ranks
// held (a layout's).
struct VersionDigests {
    Layout boxes;               // one rank that holds all
    BlockDigests blocks;        // of boxes, rank 0
};
[[nodiscard]] Result<Bytes> encode(const VersionDigests& digests);
// `boxes` as the record holds it.
[[nodiscard]] Result<Bytes> encode_version_tensors(const Layout& boxes);
[[nodiscard]] Result<Layout> decode_version_tensors(std::span<const std::byte> tensors, std::string_view file_name);
// The same from tensors that are a record already.
[[nodiscard]] Bytes encode_version_digests(std::span<const std::byte> tensors, const BlockDigests& blocks);
// The record's parts, not decoded yet.
struct VersionDigestsParts {
    std::span<const std::byte> tensors, blocks;
};
[[nodiscard]] Result<VersionDigestsParts> split_version_digests(std::span<const std::byte> bytes, std::string_view file_name);
[[nodiscard]] Result<VersionDigests> decode_version_digests(std::span<const std::byte> bytes, std::string_view file_name);

}  // namespace wsync
