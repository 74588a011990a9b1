// g++ 12 takes the undefined operands of its own AVX-512 intrinsics for uninitialised variables (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX512
#include <xxhash.h>

#include "kernels/steps.hpp"

namespace wsync {
namespace {

inline void stream_four_lines(std::byte* to, const std::byte* from) noexcept {
    const auto a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + kLine);
    const auto c = _mm512_loadu_si512(from + 2 * kLine), d = _mm512_loadu_si512(from + 3 * kLine);
    auto* out = reinterpret_cast<__m512i*>(to);
    _mm512_stream_si512(out, a);
    _mm512_stream_si512(out + 1, b);
    _mm512_stream_si512(out + 2, c);
    _mm512_stream_si512(out + 3, d);
}

}  // namespace

namespace kernels {

constinit const KernelSet kAvx512Nt = kernel_set<step_stream<stream_four_lines, 4, 2048>, end_stream, kFineStepBytes>("avx512_nt", true);

}  // namespace kernels
}  // namespace wsync
