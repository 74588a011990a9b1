// Which rank holds which box of each tensor.
//
// A Layout owns its Manifest. Its shards are proved at construction: inside their tensor, cut on byte boundaries
// (sub-byte types), known ranks. Coverage::full (sources) means that every element is held by at least one rank, and
// that boxes of different ranks which overlap are equal (a declared replica); Coverage::partial (sinks, e.g. one tensor
// parallel rank) asks only that one rank's boxes of one tensor do not overlap. Empty shards are dropped. A plain value.
#pragma once

#include "wsync/model/box.hpp"
#include "wsync/model/manifest.hpp"

#include <functional>
#include <span>

namespace wsync {

struct Shard {
    std::uint32_t rank = 0;
    std::uint32_t tensor = 0;  // index in the manifest
    Box box;
    friend bool operator==(const Shard&, const Shard&) = default;
};

enum class Coverage : std::uint8_t { full, partial };

class Layout {
public:
    Layout() = default;
    [[nodiscard]] static Result<Layout> make(Manifest manifest, std::uint32_t ranks, std::vector<Shard> shards, Coverage coverage);
    // Every one of `ranks` ranks holds every tensor whole (replicas). One rank: an unsharded trainer, a full receiver.
    [[nodiscard]] static Result<Layout> replicated(Manifest manifest, std::uint32_t ranks = 1);

    [[nodiscard]] const Manifest& manifest() const noexcept { return manifest_; }
    [[nodiscard]] std::uint32_t ranks() const noexcept { return ranks_; }
    [[nodiscard]] Coverage coverage() const noexcept { return coverage_; }
    // Ordered by (rank, tensor, offset).
    [[nodiscard]] const std::vector<Shard>& shards() const noexcept { return shards_; }
    [[nodiscard]] std::span<const Shard> shards_of(std::uint32_t rank) const noexcept;
    // The index in shards() of the rank's first shard.
    [[nodiscard]] std::size_t first_shard_of(std::uint32_t rank) const noexcept { return first_[rank]; }
    // Bytes that the rank holds.
    [[nodiscard]] std::uint64_t bytes_of(std::uint32_t rank) const noexcept;
    // Of the manifest, the shards and the coverage.
    [[nodiscard]] const Digest& digest() const noexcept { return digest_; }
    friend bool operator==(const Layout& a, const Layout& b) { return a.digest_ == b.digest_; }

private:
    Manifest manifest_;
    std::uint32_t ranks_ = 0;
    Coverage coverage_ = Coverage::full;
    std::vector<Shard> shards_;
    std::vector<std::size_t> first_;  // ranks_ + 1 entries
    Digest digest_{};
};

}  // namespace wsync
