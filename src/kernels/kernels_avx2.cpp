#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX2
#include <xxhash.h>

#include "kernels/steps.hpp"

namespace wsync {
namespace {

inline void stream_two_lines(std::byte* to, const std::byte* from) noexcept {
    const auto* in = reinterpret_cast<const __m256i*>(from);
    auto* out = reinterpret_cast<__m256i*>(to);
    const auto a = _mm256_loadu_si256(in), b = _mm256_loadu_si256(in + 1);
    const auto c = _mm256_loadu_si256(in + 2), d = _mm256_loadu_si256(in + 3);
    _mm256_stream_si256(out, a);
    _mm256_stream_si256(out + 1, b);
    _mm256_stream_si256(out + 2, c);
    _mm256_stream_si256(out + 3, d);
}

}  // namespace

namespace kernels {

constinit const KernelSet kMemcpyAvx2 = kernel_set<step_memcpy, end_nothing>("memcpy_avx2");
constinit const KernelSet kMovsbAvx2 = kernel_set<step_movsb, end_nothing>("movsb");
constinit const KernelSet kAvx2Nt = kernel_set<step_stream<stream_two_lines, 2, 1024>, end_stream, kFineStepBytes>("avx2_nt", true);

}  // namespace kernels
}  // namespace wsync
