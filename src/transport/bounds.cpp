#include "transport/bounds.hpp"

#include <fmt/format.h>

namespace wsync {

Status check_rows(std::uint64_t offset, std::uint64_t stride, std::uint64_t row_bytes, std::uint64_t rows, std::uint64_t bytes,
                  std::string_view side) {
    const auto outside = [&] {
        return Error{Code::invalid_argument,
                     fmt::format("{} rows of {} bytes, {} apart, from offset {} lie outside the {} region's {} bytes", rows, row_bytes, stride,
                                 offset, side, bytes),
                     {}};
    };
    if (offset > bytes) return outside();
    if (rows == 0 || row_bytes == 0) return {};
    if (row_bytes > bytes - offset) return outside();
    if (rows == 1) return {};
    if (stride < row_bytes) {
        return Error{Code::invalid_argument, fmt::format("rows of {} bytes overlap with a {} stride of {}", row_bytes, side, stride), {}};
    }
    // The last row begins (rows - 1) * stride after the first one.
    if (rows - 1 > (bytes - offset - row_bytes) / stride) return outside();
    return {};
}

Status check_transfer(const Transfer& transfer, std::uint64_t remote_bytes) {
    if (transfer.local == nullptr) return Error{Code::invalid_argument, "the transfer has no local region", {}};
    const Region& local = *transfer.local;
    if (local.bytes != 0 && !local.host_bytes()) {
        return Error{Code::unsupported, fmt::format("the local region is of kind {} and not in memory", name_of(local.kind)), {}};
    }
    if (transfer.op == Op::read && !local.writable) return Error{Code::invalid_argument, "the local region is read-only", {}};
    WSYNC_TRY_VOID(check_rows(transfer.remote_offset, transfer.remote_stride, transfer.row_bytes, transfer.rows, remote_bytes, "remote"));
    return check_rows(transfer.local_offset, transfer.local_stride, transfer.row_bytes, transfer.rows, local.bytes, "local");
}

}  // namespace wsync
