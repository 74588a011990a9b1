// g++ 12 takes the undefined operands of its own AVX-512 intrinsics for uninitialised variables (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX512
#include <xxhash.h>

#include "kernels/steps.hpp"
#include "kernels/variants.hpp"

#include <immintrin.h>

namespace wsync {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kAhead = 1024;  // prefetch distance

void end_stream() noexcept { _mm_sfence(); }

void step_stream_avx512(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes < kernels::kMinStreamBytes) return step_memcpy(to, from, bytes);
    auto head = (kLine - reinterpret_cast<std::uintptr_t>(to) % kLine) % kLine;
    step_memcpy(to, from, head);
    to += head;
    from += head;
    bytes -= head;
    for (; bytes >= 4 * kLine; bytes -= 4 * kLine, to += 4 * kLine, from += 4 * kLine) {
        // Past the end of the source a prefetch is only a hint that comes to nothing.
        for (std::size_t line = 0; line < 4; ++line) {
            _mm_prefetch(reinterpret_cast<const char*>(from) + kAhead + line * kLine, _MM_HINT_T0);
        }
        auto a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + kLine);
        auto c = _mm512_loadu_si512(from + 2 * kLine), d = _mm512_loadu_si512(from + 3 * kLine);
        auto* out = reinterpret_cast<__m512i*>(to);
        _mm512_stream_si512(out, a);
        _mm512_stream_si512(out + 1, b);
        _mm512_stream_si512(out + 2, c);
        _mm512_stream_si512(out + 3, d);
    }
    step_memcpy(to, from, bytes);
}

}  // namespace

namespace kernels {

constinit const KernelSet kAvx512Nt = kernel_set<step_stream_avx512, end_stream>("avx512_nt");

}  // namespace kernels
}  // namespace wsync
