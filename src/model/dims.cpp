#include "wsync/model/dims.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace wsync {

std::string Dims::to_string() const { return fmt::format("[{}]", fmt::join(begin(), end(), ", ")); }

bool checked_product(const Dims& dims, std::uint64_t& product) noexcept {
    // A zero extent does not excuse an overflow of the others: strides are products of some of the extents.
    std::uint64_t of_nonzero = 1;
    bool zero = false;
    for (std::uint64_t extent : dims) {
        if (extent == 0) {
            zero = true;
        } else if (__builtin_mul_overflow(of_nonzero, extent, &of_nonzero)) {
            return false;
        }
    }
    product = zero ? 0 : of_nonzero;
    return true;
}

}  // namespace wsync
