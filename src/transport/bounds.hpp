// Whether a transfer lies inside what it names. Arithmetic that can't overflow: offsets may come from another process.
#pragma once

#include "transport/transport.hpp"

namespace wsync {

// Rows of `row_bytes`, `stride` apart, from `offset` on, lie within `bytes`. Where there are several rows they must not
// overlap (stride >= row_bytes). No rows, or rows of no bytes, lie inside when `offset` does. `side` is for the message.
[[nodiscard]] Status check_rows(std::uint64_t offset, std::uint64_t stride, std::uint64_t row_bytes, std::uint64_t rows, std::uint64_t bytes,
                                std::string_view side);

// Both sides of a transfer: the remote region has `remote_bytes`, the local one is there, is touchable memory (else
// unsupported) and, for a read, writable. row_bytes * rows fits in 64 bits. Error{invalid_argument} else.
[[nodiscard]] Status check_transfer(const Transfer& transfer, std::uint64_t remote_bytes);

}  // namespace wsync
