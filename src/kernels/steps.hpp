// The passes that every variant shares: copy in steps, digest each step while it is in cache, rows.
//
// Included after <xxhash.h> with XXH_INLINE_ALL, once per translation unit and unit width. Everything is in an anonymous
// namespace on purpose: each includer is compiled for another instruction set, and no copy of these may meet another at
// link time. For the same reason nothing here uses inline functions of the standard library.
#pragma once

#include "kernels/kernel_set.hpp"
#include "kernels/variants.hpp"

#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef XXH_INLINE_ALL
#error "steps.hpp needs <xxhash.h> with XXH_INLINE_ALL"
#endif

namespace wsync {
namespace {

// Small enough for any L2, and large enough that the change between copying and hashing costs nothing (measured: 32 to
// 128 KiB are alike, 1 MiB loses a third).
constexpr std::size_t kStepBytes = 64 * 1024;
// One block of XXH3: the processor still fetches what the copy asked for ahead while it hashes (docs/memory.md).
constexpr std::size_t kFineStepBytes = 1024;
constexpr std::size_t kLine = 64;

using CopyStep = void (*)(std::byte* to, const std::byte* from, std::size_t bytes) noexcept;
using CopyEnd = void (*)() noexcept;

inline Digest canonical(XXH128_hash_t hash) noexcept {
    XXH128_canonical_t canon;
    XXH128_canonicalFromHash(&canon, hash);
    Digest digest;
    static_assert(sizeof canon == sizeof digest.bytes);
    std::memcpy(static_cast<void*>(&digest.bytes), &canon, sizeof canon);
    return digest;
}

inline Digest digest_flat(const std::byte* from, std::size_t bytes) noexcept { return canonical(XXH3_128bits(from, bytes)); }

inline void step_memcpy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes > 0) std::memcpy(to, from, bytes);
}

// How far it is to the next line.
inline std::size_t to_line(const std::byte* address) noexcept { return (kLine - reinterpret_cast<std::uintptr_t>(address) % kLine) % kLine; }

// Copies and digests one stretch. Copy first: it brings the step into L2, and what changes after the copy read it is
// hashed as changed, so that a torn read shows as a mismatch.
template <CopyStep kCopy, std::size_t kStep>
void copy_and_update(XXH3_state_t& state, std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes < kernels::kMinStreamBytes) {
        step_memcpy(to, from, bytes);
        XXH3_128bits_update(&state, from, bytes);
        return;
    }
    auto most = kStep + to_line(to);  // the steps that follow begin with a line of the target
    while (bytes > 0) {
        const auto step = bytes < most ? bytes : most;
        kCopy(to, from, step);
        XXH3_128bits_update(&state, from, step);
        to += step;
        from += step;
        bytes -= step;
        most = kStep;
    }
}

template <CopyStep kCopy, CopyEnd kEnd>
void copy_flat(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes < kernels::kMinStreamBytes) return step_memcpy(to, from, bytes);
    kCopy(to, from, bytes);
    kEnd();
}

template <CopyStep kCopy, CopyEnd kEnd, std::size_t kStep>
Digest copy_digest_flat(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    if (bytes < kernels::kMinStreamBytes) {
        step_memcpy(to, from, bytes);
        return digest_flat(from, bytes);
    }
    if (bytes <= kStep) {
        kCopy(to, from, bytes);
        kEnd();
        return digest_flat(from, bytes);
    }
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    copy_and_update<kCopy, kStep>(state, to, from, bytes);
    kEnd();
    return canonical(XXH3_128bits_digest(&state));
}

template <CopyStep kCopy, CopyEnd kEnd, std::size_t kStep>
Digest rows_digest(const StridedRows& rows) noexcept {
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    for (std::size_t row = 0; row < rows.rows; ++row) {
        const auto* from = rows.from + row * rows.from_stride;
        if (rows.to == nullptr) {
            XXH3_128bits_update(&state, from, rows.row_bytes);
        } else {
            copy_and_update<kCopy, kStep>(state, rows.to + row * rows.to_stride, from, rows.row_bytes);
        }
    }
    kEnd();
    return canonical(XXH3_128bits_digest(&state));
}

// A loop that compilers turn into the unit's own instructions.
inline void step_bf16(std::byte* __restrict to, const std::byte* __restrict from, std::size_t values) noexcept {
    for (std::size_t i = 0; i < values; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, from + 4 * i, 4);
        const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
        const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
        const auto value = static_cast<std::uint16_t>(nan ? 0xffffU : rounded);
        std::memcpy(to + 2 * i, &value, 2);
    }
}

inline Digest bf16_digest(std::byte* to, const std::byte* from, std::size_t values) noexcept {
    constexpr std::size_t kStepValues = kStepBytes / 2;
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    for (std::size_t done = 0; done < values;) {
        const auto step = values - done < kStepValues ? values - done : kStepValues;
        step_bf16(to + 2 * done, from + 4 * done, step);
        XXH3_128bits_update(&state, to + 2 * done, 2 * step);
        done += step;
    }
    return canonical(XXH3_128bits_digest(&state));
}

template <CopyStep kCopy, CopyEnd kEnd, std::size_t kStep = kStepBytes>
constexpr KernelSet kernel_set(std::string_view name, bool window_pays = false) noexcept {
    return {name, copy_flat<kCopy, kEnd>, copy_digest_flat<kCopy, kEnd, kStep>, digest_flat, rows_digest<kCopy, kEnd, kStep>, bf16_digest, window_pays};
}

inline void end_nothing() noexcept {}

#if defined(__x86_64__)
inline void step_movsb(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

// Past the caches: `kStream` moves kLines lines into aligned ones that are not read first; the ends go the usual way. Fetched are
// bytes kAhead from here.
using StreamLines = void (*)(std::byte* to, const std::byte* from) noexcept;

template <StreamLines kStream, std::size_t kLines, std::size_t kAhead>
void step_stream(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
    const auto wanted = to_line(to), head = wanted < bytes ? wanted : bytes;
    step_memcpy(to, from, head);
    to += head;
    from += head;
    bytes -= head;
    for (; bytes >= kLines * kLine; bytes -= kLines * kLine, to += kLines * kLine, from += kLines * kLine) {
        // Past the end of the source a prefetch is only a hint that comes to nothing.
        for (std::size_t line = 0; line < kLines; ++line) _mm_prefetch(reinterpret_cast<const char*>(from) + kAhead + line * kLine, _MM_HINT_T0);
        kStream(to, from);
    }
    step_memcpy(to, from, bytes);
}
inline void end_stream() noexcept { _mm_sfence(); }
#endif

}  // namespace
}  // namespace wsync
