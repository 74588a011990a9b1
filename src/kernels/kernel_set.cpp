#include "kernels/kernel_set.hpp"

#include "kernels/variants.hpp"

#include <array>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace wsync {
namespace {

struct Available {
    std::array<KernelSet, 6> sets;
    std::size_t count = 0;
    std::size_t best = 0;
    void add(const KernelSet& set) { sets[count++] = set; }
};

#if defined(__x86_64__)

bool has_fast_movsb() {  // ERMS
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & (1U << 9)) != 0;
}

bool has_avx512_fp16() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & (1U << 23)) != 0;
}

struct Processor {
    unsigned family = 0, model = 0;
};
Processor processor() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return {};
    const auto family = (a >> 8) & 15U, model = (a >> 4) & 15U;
    return family == 15 ? Processor{family + ((a >> 20) & 255U), model + ((a >> 16) & 15U) * 16} : Processor{family, model};
}

// Its kernel copies as fast into memory as into a cache: the copy on from a window only costs (docs/memory.md).
bool is_zen4() {
    if (!__builtin_cpu_is("amd")) return false;
    const auto [family, model] = processor();
    return family == 25 && ((model >= 0x10 && model < 0x20) || (model >= 0x60 && model < 0x80) || (model >= 0xa0 && model < 0xb0));
}

// The processors whose best set has been measured; docs/memory.md has the figures. Everything else gets memcpy (with a
// wide digest where there is one), which is never bad; measure's probe finds the rest.
//   AMD family 25, AVX-512 (Zen 4): AVX2 non-temporal copies 1.8x of memcpy, with digest 1.9x; AVX-512 is 4 to 7 % behind
//   it, and its digest alone 29 %.
//   AMD family 25, AVX2 (Zen 3): plain copies are alike; non-temporal with digest 1.6x of memcpy.
//   Intel with AVX512-FP16 (Sapphire Rapids and later): AVX-512 non-temporal copies are the fastest, with digest and without.
std::string_view best_name(bool avx512) {
    if (__builtin_cpu_is("amd") && processor().family == 25) return "avx2_nt";
    if (avx512 && __builtin_cpu_is("intel") && has_avx512_fp16()) return "avx512_nt";
    return "memcpy_avx2";
}

Available detect() {
    Available found;
    found.add(kernels::kMemcpy);
    bool avx2 = __builtin_cpu_supports("avx2");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512dq");
    if (avx2) found.add(kernels::kMemcpyAvx2);
    if (has_fast_movsb()) found.add(avx2 ? kernels::kMovsbAvx2 : kernels::kMovsb);
    if (avx2) found.add(kernels::kAvx2Nt);
    if (avx512) found.add(kernels::kAvx512Nt);
    auto best = best_name(avx512);
    for (std::size_t i = 0; i < found.count; ++i) {
        if (found.sets[i].name == best) found.best = i;
        if (is_zen4()) found.sets[i].window_pays = false;
    }
    return found;
}

#else

Available detect() {
    Available found;
    found.add(kernels::kMemcpy);
    return found;
}

#endif

// What the processor can do does not change: computed once, read only.
const Available& available() {
    static const Available found = detect();
    return found;
}

bool flat(std::size_t stride, const StridedRows& rows) { return stride == rows.row_bytes || rows.rows == 1; }

}  // namespace

std::span<const KernelSet> available_kernels() noexcept { return {available().sets.data(), available().count}; }
const KernelSet& default_kernels() noexcept { return available().sets[available().best]; }

const KernelSet* find_kernels(std::string_view name) noexcept {
    for (const auto& set : available_kernels()) {
        if (set.name == name) return &set;
    }
    return nullptr;
}

void copy_rows(const KernelSet& kernels, const StridedRows& rows) noexcept {
    if (rows.rows == 0 || rows.row_bytes == 0) return;
    if (flat(rows.to_stride, rows) && flat(rows.from_stride, rows)) {
        kernels.copy(rows.to, rows.from, rows.rows * rows.row_bytes);
        return;
    }
    // A set's copy fences its stores: not once for every small row.
    auto copy = rows.row_bytes < kernels::kMinStreamBytes ? kernels::kMemcpy.copy : kernels.copy;
    for (std::size_t row = 0; row < rows.rows; ++row) copy(rows.to + row * rows.to_stride, rows.from + row * rows.from_stride, rows.row_bytes);
}

Digest copy_rows_digest(const KernelSet& kernels, const StridedRows& rows) noexcept {
    if (rows.rows == 0 || rows.row_bytes == 0) return kernels.digest(rows.from, 0);
    if (flat(rows.to_stride, rows) && flat(rows.from_stride, rows)) return kernels.copy_digest(rows.to, rows.from, rows.rows * rows.row_bytes);
    return kernels.rows_digest(rows);
}

Digest digest_rows(const KernelSet& kernels, const std::byte* from, std::size_t stride, std::size_t row_bytes, std::size_t rows) noexcept {
    if (rows == 0 || row_bytes == 0) return kernels.digest(from, 0);
    StridedRows wanted{.from = from, .from_stride = stride, .row_bytes = row_bytes, .rows = rows};
    if (flat(stride, wanted)) return kernels.digest(from, rows * row_bytes);
    return kernels.rows_digest(wanted);
}

}  // namespace wsync
