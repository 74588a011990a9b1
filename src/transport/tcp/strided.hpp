// Rows of a region: where the n-th packed byte lies.
#pragma once

#include <cstdint>

namespace wsync::tcp {

struct Strided {
    std::uint64_t offset = 0, stride = 0, row_bytes = 0, rows = 0;

    // Precondition of all below: check_rows (transport/bounds.hpp) passed, so nothing overflows.
    [[nodiscard]] std::uint64_t total() const noexcept { return row_bytes * rows; }
    // One range without holes.
    [[nodiscard]] bool flat() const noexcept { return rows <= 1 || stride == row_bytes; }

    struct Run {
        std::uint64_t offset = 0, bytes = 0;
    };
    // The longest contiguous run from packed position `at` < total().
    [[nodiscard]] Run run_at(std::uint64_t at) const noexcept {
        if (flat()) return {offset + at, total() - at};
        const std::uint64_t within = at % row_bytes;
        return {offset + at / row_bytes * stride + within, row_bytes - within};
    }
};

}  // namespace wsync::tcp
