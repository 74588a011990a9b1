#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX2
#include <xxhash.h>

#include "kernels/steps.hpp"
#include "kernels/variants.hpp"

#include <immintrin.h>

namespace wsync {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kAhead = 1024;  // prefetch distance

void end_stream() noexcept { _mm_sfence(); }

void step_stream_avx2(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes < kernels::kMinStreamBytes) return step_memcpy(to, from, bytes);
    auto head = (kLine - reinterpret_cast<std::uintptr_t>(to) % kLine) % kLine;
    step_memcpy(to, from, head);
    to += head;
    from += head;
    bytes -= head;
    for (; bytes >= 2 * kLine; bytes -= 2 * kLine, to += 2 * kLine, from += 2 * kLine) {
        // Past the end of the source a prefetch is only a hint that comes to nothing.
        _mm_prefetch(reinterpret_cast<const char*>(from) + kAhead, _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(from) + kAhead + kLine, _MM_HINT_T0);
        const auto* in = reinterpret_cast<const __m256i*>(from);
        auto* out = reinterpret_cast<__m256i*>(to);
        auto a = _mm256_loadu_si256(in), b = _mm256_loadu_si256(in + 1);
        auto c = _mm256_loadu_si256(in + 2), d = _mm256_loadu_si256(in + 3);
        _mm256_stream_si256(out, a);
        _mm256_stream_si256(out + 1, b);
        _mm256_stream_si256(out + 2, c);
        _mm256_stream_si256(out + 3, d);
    }
    step_memcpy(to, from, bytes);
}

}  // namespace

namespace kernels {

constinit const KernelSet kMemcpyAvx2 = kernel_set<step_memcpy, end_nothing>("memcpy_avx2");
constinit const KernelSet kMovsbAvx2 = kernel_set<step_movsb, end_nothing>("movsb");
constinit const KernelSet kAvx2Nt = kernel_set<step_stream_avx2, end_stream>("avx2_nt");

}  // namespace kernels
}  // namespace wsync
