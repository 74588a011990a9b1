#include "verify/block_digests.hpp"

#include "base/parallel.hpp"
#include "verify/blocks.hpp"
#include "verify/host_shards.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

constexpr RecordKind kKind{"WSDL", 1, 0};

// Blocks that a thread takes at once: many of small tensors cost one turn, few of large ones leave nobody idle.
constexpr std::uint64_t kBytesPerTurn = 4 * kBlockBytes;

std::vector<std::uint64_t> first_blocks(const Layout& layout, std::uint32_t rank) {
    std::vector<std::uint64_t> first{0};
    for (const Shard& shard : layout.shards_of(rank)) {
        first.push_back(first.back() + count_blocks(shard.box, layout.manifest()[shard.tensor].dtype));
    }
    return first;
}

}  // namespace

Result<BlockDigests> digest_shards(const Layout& layout, std::uint32_t rank, const Placement& placement, std::span<const Region> regions,
                                   const KernelSet& kernels, unsigned threads) {
    WSYNC_TRY_VOID(check(layout, rank, placement));
    const auto shards = layout.shards_of(rank);
    std::vector<const std::byte*> begins(shards.size());
    for (std::size_t i = 0; i < shards.size(); ++i) {
        const DType dtype = layout.manifest()[shards[i].tensor].dtype;
        WSYNC_TRY(auto bytes, host_shard(placement.places[i], shards[i].box.bytes(dtype), regions));
        begins[i] = bytes.data();
    }
    BlockDigests out;
    out.first = first_blocks(layout, rank);
    out.digests.resize(out.first.back());

    const std::uint64_t bytes = std::max<std::uint64_t>(layout.bytes_of(rank), 1), blocks = out.digests.size();
    const std::uint64_t per_turn = std::clamp<std::uint64_t>(kBytesPerTurn * blocks / bytes, 1, 1024);
    parallel_for((blocks + per_turn - 1) / per_turn, threads, [&](std::size_t turn) {
        const std::uint64_t begin = turn * per_turn, end = std::min(blocks, begin + per_turn);
        // The shard of the first block, and on from there.
        auto shard = static_cast<std::size_t>(std::upper_bound(out.first.begin(), out.first.end(), begin) - out.first.begin()) - 1;
        for (std::uint64_t block = begin; block < end; ++shard) {
            const BlockCut cut(shards[shard].box, layout.manifest()[shards[shard].tensor].dtype);
            for (; block < std::min(end, out.first[shard + 1]); ++block) {
                const std::uint64_t i = block - out.first[shard];
                out.digests[block] = kernels.digest(begins[shard] + cut.offset(i), cut.bytes(i));
            }
        }
    });
    return out;
}

Status check(const BlockDigests& digests, const Layout& layout, std::uint32_t rank) {
    if (rank >= layout.ranks()) {
        return Error{Code::invalid_argument, fmt::format("rank {} is not in a layout of {} ranks", rank, layout.ranks()), {}};
    }
    const auto shards = layout.shards_of(rank);
    if (digests.first.size() != shards.size() + 1) {
        const std::size_t listed = digests.first.empty() ? 0 : digests.first.size() - 1;
        return Error{Code::corrupt, fmt::format("the digests of rank {} are of {} shards, its layout has {}", rank, listed, shards.size()), {}};
    }
    const std::vector<std::uint64_t> wanted = first_blocks(layout, rank);
    for (std::size_t i = 0; i <= shards.size(); ++i) {
        if (digests.first[i] == wanted[i]) continue;
        const Shard& shard = shards[i == 0 ? 0 : i - 1];
        return Error{Code::corrupt,
                     fmt::format("the digests of rank {} do not fit its layout at tensor \"{}\", box {}", rank, layout.manifest()[shard.tensor].name,
                                 shard.box.to_string()),
                     {}};
    }
    if (digests.digests.size() != wanted.back()) {
        return Error{Code::corrupt, fmt::format("rank {} has {} digests, its shards {} blocks", rank, digests.digests.size(), wanted.back()), {}};
    }
    return {};
}

Bytes encode(const BlockDigests& digests) {
    ByteWriter out;
    out.begin_record(kKind);
    const std::size_t shards = digests.first.empty() ? 0 : digests.first.size() - 1;
    out.u32(static_cast<std::uint32_t>(shards));
    for (std::size_t i = 0; i < shards; ++i) out.u64(digests.first[i + 1] - digests.first[i]);
    out.raw(std::as_bytes(std::span(digests.digests)));
    return out.take();
}

Result<BlockDigests> decode_block_digests(std::span<const std::byte> bytes) {
    ByteReader in(bytes, "block digests");
    WSYNC_TRY(const auto minor, in.begin_record(kKind));
    WSYNC_TRY(const auto shards, in.count(sizeof(std::uint64_t)));
    BlockDigests out;
    out.first.reserve(shards + std::size_t{1});
    out.first.push_back(0);
    // As many digests as the bytes behind the counts can hold.
    const std::uint64_t room = (in.remaining() - shards * sizeof(std::uint64_t)) / sizeof(Digest);
    for (std::uint32_t i = 0; i < shards; ++i) {
        WSYNC_TRY(const auto blocks, in.u64());
        if (blocks > room - out.first.back()) {
            return Error{Code::corrupt, fmt::format("block digests are truncated: {} blocks of shard {} do not follow", blocks, i), {}};
        }
        out.first.push_back(out.first.back() + blocks);
    }
    out.digests.resize(out.first.back());
    for (Digest& digest : out.digests) {
        WSYNC_TRY(digest, in.digest());
    }
    if (minor == kKind.minor) WSYNC_TRY_VOID(in.finish());
    return out;
}

}  // namespace wsync
