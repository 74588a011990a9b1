#include "store/version_reader.hpp"

#include "memory/host_buffer.hpp"
#include "verify/blocks.hpp"
#include "verify/mismatch.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

struct BlockInFile {
    std::uint64_t offset, bytes;  // in the file
    std::size_t shard;
    std::uint64_t block;
};

std::vector<BlockInFile> blocks_of_file(const StoredVersion& stored, std::uint32_t file) {
    const Layout& layout = stored.checkpoint.layout;
    const auto shards = layout.shards_of(0);
    std::vector<BlockInFile> blocks;
    for (std::size_t s = 0; s < shards.size(); ++s) {
        const ShardPlace& place = stored.checkpoint.placement.places[s];
        if (place.region != file) continue;
        const BlockCut cut(shards[s].box, layout.manifest()[shards[s].tensor].dtype);
        for (std::uint64_t b = 0; b < cut.count(); ++b) blocks.push_back({place.offset + cut.offset(b), cut.bytes(b), s, b});
    }
    std::sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
    return blocks;
}

Status compare(const StoredVersion& stored, const BlockInFile& block, const Digest& found) {
    if (found == stored.digests.digests[stored.digests.first[block.shard] + block.block]) return {};
    const Shard& shard = stored.checkpoint.layout.shards_of(0)[block.shard];
    const TensorSpec& tensor = stored.checkpoint.layout.manifest()[shard.tensor];
    const auto& place = stored.checkpoint.placement.places[block.shard];
    return mismatch_error({tensor.name, BlockCut(shard.box, tensor.dtype).block(block.block), block.offset, block.bytes})
        .within(fmt::format("verifying {}", stored.checkpoint.files[place.region]));
}

}  // namespace

Result<VerifiedVersion> verify_version(FileSystem& files, const std::string& path, const VerifyOptions& options) {
    WSYNC_TRY(const auto stored, open_version(files, path));
    HostBufferOptions buffer_options;
    // A small model needs no large buffer, and fresh memory is slower than the disk.
    std::uint64_t largest = 4096;
    for (const WeightsFile& file : stored.manifest.files) largest = std::max(largest, file.bytes);
    buffer_options.bytes = std::min(std::max<std::uint64_t>(options.buffer_bytes, 4 << 20), largest);
    buffer_options.prefault = false;
    WSYNC_TRY(const auto buffer, HostBuffer::make(buffer_options));
    const Region memory = HostBuffer::region(buffer);
    const std::uint64_t total = stored.checkpoint.layout.manifest().bytes();
    VerifiedVersion verified;
    verified.version = stored.manifest.version;
    for (std::uint32_t f = 0; f < stored.checkpoint.files.size(); ++f) {
        const auto blocks = blocks_of_file(stored, f);
        for (std::size_t i = 0; i < blocks.size();) {
            // As many as the buffer holds, at the phase they have in the file: no copy on the way.
            const std::uint64_t begin = blocks[i].offset / 4096 * 4096;
            std::vector<FileRange> ranges;
            std::size_t end = i;
            for (; end < blocks.size() && blocks[end].offset + blocks[end].bytes - begin <= memory.bytes; ++end) {
                ranges.push_back({blocks[end].offset, &memory, blocks[end].offset - begin, blocks[end].bytes});
            }
            if (ranges.empty()) return Error{Code::unsupported, fmt::format("a block of {} bytes is larger than the buffer of {}", blocks[i].bytes, memory.bytes)};
            WSYNC_TRY(const auto digests, files.read(stored.checkpoint.files[f], ranges));
            for (std::size_t k = 0; k < ranges.size(); ++k) {
                WSYNC_TRY_VOID(compare(stored, blocks[i + k], digests[k]));
                verified.bytes += ranges[k].bytes;
            }
            verified.blocks += ranges.size();
            i = end;
            if (options.progress) options.progress(verified.bytes, total);
        }
    }
    return verified;
}

}  // namespace wsync
