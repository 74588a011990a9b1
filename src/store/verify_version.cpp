#include "store/stored_blocks.hpp"

namespace wsync {

Result<VerifiedVersion> verify_version(FileSystem& files, const std::string& path, const VerifyOptions& options) {
    WSYNC_TRY(const auto stored, open_version(files, path));
    const std::uint64_t total = stored.checkpoint.layout.manifest().bytes();
    VerifiedVersion verified;
    verified.version = stored.manifest.version;
    ReadBlocksOptions read;
    read.buffer_bytes = options.buffer_bytes;
    WSYNC_TRY_VOID(read_blocks(files, stored, all_blocks(stored), read, [&](const StoredBlock&, const Box&, std::span<const std::byte> bytes) -> Status {
        verified.bytes += bytes.size();
        ++verified.blocks;
        if (options.progress) options.progress(verified.bytes, total);
        return {};
    }));
    return verified;
}

}  // namespace wsync
