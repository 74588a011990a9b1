#include "base/parallel.hpp"
#include "measure/limit_variants.hpp"

#include <algorithm>

namespace wsync {
namespace {

// The unit in which wsync copies: its blocks have at most 1 MiB. What a kernel set gains on longer ones is not there to
// be had.
constexpr std::uint64_t kBlockBytes = 1 << 20;

void copy_blocks(const KernelSet& kernels, bool digest, std::byte* to, const std::byte* from, std::uint64_t bytes) {
    for (std::uint64_t at = 0; at < bytes; at += kBlockBytes) {
        auto block = std::min(kBlockBytes, bytes - at);
        if (digest) {
            [[maybe_unused]] volatile auto first = kernels.copy_digest(to + at, from + at, block).bytes[0];
        } else {
            kernels.copy(to + at, from + at, block);
        }
    }
}

double run(const KernelSet& kernels, unsigned threads, bool digest, std::uint64_t bytes, const LimitBuffers& buffers) {
    auto* to = buffers.buffer->bytes().data();
    const auto* from = MappedSlab::region(buffers.mapped).address;
    // Parts end on page boundaries; the last one has the rest.
    auto part = std::max<std::uint64_t>(bytes / threads / 4096 * 4096, 4096);
    RateClock clock;
    parallel_for(threads, threads, [&](std::size_t i) {
        auto begin = std::min(bytes, i * part);
        auto end = i + 1 == threads ? bytes : std::min(bytes, begin + part);
        copy_blocks(kernels, digest, to + begin, from + begin, end - begin);
    });
    return clock.rate(bytes);
}

}  // namespace

Result<LimitVariants> memory_variants(LimitKind kind, const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers) {
    unsigned threads = kind == LimitKind::copy_1 ? 1 : 2;
    bool digest = kind == LimitKind::copy_digest_2;
    LimitVariants variants;
    for (const auto& kernels : available_kernels()) {
        // Without the digest this one is memcpy again.
        if (!digest && kernels.name == "memcpy_avx2") continue;
        variants.push_back({std::string(kernels.name), [&kernels, threads, digest, bytes = options.bytes, buffers]() -> Result<double> {
                                return run(kernels, threads, digest, bytes, *buffers);
                            }});
    }
    return variants;
}

}  // namespace wsync
