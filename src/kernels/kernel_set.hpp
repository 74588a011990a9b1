// The copies and digests that weights pass through, chosen once into a value.
//
// A KernelSet is a table of functions with a name. Which one is best differs between processors (non-temporal stores win
// by half on one and lose on another), so measure picks one by a probe and passes it in; default_kernels() picks by the
// processor's table. All variants give the same bytes and the same digests; the tests run every one the processor has.
#pragma once

#include "wsync/base/digest.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace wsync {

// `rows` rows of `row_bytes`, a stride apart on each side.
struct StridedRows {
    std::byte* to = nullptr;  // null where rows are only digested
    const std::byte* from = nullptr;
    std::size_t to_stride = 0, from_stride = 0, row_bytes = 0, rows = 0;
};

struct KernelSet {
    std::string_view name;  // "memcpy", "memcpy_avx2" (its digest is wide), "movsb", "avx2_nt", "avx512_nt"
    // Copies `bytes`; the ranges do not overlap. Any alignment.
    void (*copy)(std::byte* to, const std::byte* from, std::size_t bytes) noexcept = nullptr;
    // Copies and digests in one pass (steps of 64 KiB: copy, then hash of the source step while it is in cache, so a
    // source that changes under the copy shows as a mismatch).
    Digest (*copy_digest)(std::byte* to, const std::byte* from, std::size_t bytes) noexcept = nullptr;
    // XXH3-128, as fast as the processor's widest unit allows.
    Digest (*digest)(const std::byte* from, std::size_t bytes) noexcept = nullptr;
    // Digests rows as if they were packed, and copies them on the way where rows.to is not null. Rows are not empty.
    Digest (*rows_digest)(const StridedRows& rows) noexcept = nullptr;
    // Rounds `values` F32 to BF16, to the nearest, ties to even, as torch does on a processor (a NaN becomes 0xffff), and
    // digests what it wrote. Any alignment.
    Digest (*bf16_digest)(std::byte* to, const std::byte* from, std::size_t values) noexcept = nullptr;
    // A cached file is read faster through a small buffer that stays in cache, and by this set's copy on past the caches, than right
    // into place: never with copies that store into the caches.
    bool window_pays = false;
};

// Every set that this processor can run, the portable one ("memcpy") first.
[[nodiscard]] std::span<const KernelSet> available_kernels() noexcept;
[[nodiscard]] const KernelSet& default_kernels() noexcept;
// Null when there is none of that name here.
[[nodiscard]] const KernelSet* find_kernels(std::string_view name) noexcept;

// Strided forms on top of a set. Small rows go through the portable copy.
void copy_rows(const KernelSet& kernels, const StridedRows& rows) noexcept;
[[nodiscard]] Digest copy_rows_digest(const KernelSet& kernels, const StridedRows& rows) noexcept;  // of the rows, packed
[[nodiscard]] Digest digest_rows(const KernelSet& kernels, const std::byte* from, std::size_t stride, std::size_t row_bytes, std::size_t rows) noexcept;

}  // namespace wsync
