// The control plane's records, and where they lie.
//
//   NAME/epoch           EpochRecord     who publishes the name: taken by compare-and-put
//   NAME/head            HeadRecord      the newest whole version
//   NAME/eE/rank/R       RankRecord      one rank of the publisher, under its lease
//   NAME/eE/vN/R         PublicationRecord  one rank's part of version N
//
// Small values only: layouts, placements and digest lists are blobs named by their digest, fetched from the publisher.
#pragma once

#include "base/process.hpp"
#include "base/secret.hpp"
#include "transport/transport.hpp"
#include "wsync/model/version.hpp"

namespace wsync {

struct EpochRecord {
    std::uint64_t epoch = 0;
    std::string run;
    std::uint32_t world = 1;
    Digest layout{};              // every rank describes the same whole layout
    Secret secret{};              // proves peers to each other; the record is as readable as the control plane is
};

struct RankRecord {
    ProcessIdentity process;
    std::vector<std::string> links;             // endpoints: "unix:...", "tcp:..."
    std::vector<std::vector<Descriptor>> slabs;  // of each slab, one descriptor a transport
    Digest layout{}, placement{};               // blobs
};

struct PublicationRecord {
    std::uint64_t number = 0, step = 0;
    std::uint32_t slab = 0;
    std::uint64_t generation = 0;
    Digest digests{};             // blob: the rank's block digests
    double prepare_seconds = 0;   // digests
    double store_seconds = 0;     // written to disk, where it was
    double blocked_seconds = 0;   // of the trainer: begin_write's wait and publish
    std::string directory;        // where the version lies on disk, if it does
};

struct HeadRecord {
    Version version;
};

// A version as it stands in records.
void write(ByteWriter& out, const Version& version);
[[nodiscard]] Result<Version> read_version(ByteReader& in);

// A version's digest: of the layout and of each rank's list of block digests, in order.
[[nodiscard]] Digest digest_of_version(const Digest& layout, std::span<const Digest> ranks);
[[nodiscard]] Status check_publication_name(const std::string& name);
[[nodiscard]] std::string epoch_key(const std::string& name);
[[nodiscard]] std::string head_key(const std::string& name);
[[nodiscard]] std::string rank_prefix(const std::string& name, std::uint64_t epoch);
[[nodiscard]] std::string rank_key(const std::string& name, std::uint64_t epoch, std::uint32_t rank);
[[nodiscard]] std::string version_prefix(const std::string& name, std::uint64_t epoch, std::uint64_t number);
[[nodiscard]] std::string version_key(const std::string& name, std::uint64_t epoch, std::uint64_t number, std::uint32_t rank);

[[nodiscard]] Bytes encode(const EpochRecord& record);
[[nodiscard]] Bytes encode(const RankRecord& record);
[[nodiscard]] Bytes encode(const PublicationRecord& record);
[[nodiscard]] Bytes encode(const HeadRecord& record);
[[nodiscard]] Result<EpochRecord> decode_epoch(std::span<const std::byte> bytes);
[[nodiscard]] Result<RankRecord> decode_rank(std::span<const std::byte> bytes);
[[nodiscard]] Result<PublicationRecord> decode_publication(std::span<const std::byte> bytes);
[[nodiscard]] Result<HeadRecord> decode_head(std::span<const std::byte> bytes);

}  // namespace wsync
