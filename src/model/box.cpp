#include "wsync/model/box.hpp"

#include <fmt/format.h>

namespace wsync {

std::uint64_t Box::elements() const noexcept {
    std::uint64_t product = 1;
    for (std::uint64_t extent : size) product *= extent;
    return product;
}

bool Box::inside(const Dims& shape) const noexcept {
    if (offset.size() != shape.size() || size.size() != shape.size()) return false;
    for (std::size_t d = 0; d < shape.size(); ++d) {
        if (offset[d] > shape[d] || size[d] > shape[d] - offset[d]) return false;
    }
    return true;
}

bool Box::contains(const Box& other) const noexcept {
    if (size.size() != other.size.size()) return false;
    for (std::size_t d = 0; d < size.size(); ++d) {
        if (other.offset[d] < offset[d]) return false;
        const std::uint64_t skipped = other.offset[d] - offset[d];
        if (skipped > size[d] || other.size[d] > size[d] - skipped) return false;
    }
    return true;
}

std::string Box::to_string() const {
    std::string out = "[";
    for (std::size_t d = 0; d < size.size(); ++d) {
        out += fmt::format("{}{}:{}", d == 0 ? "" : ", ", offset[d], offset[d] + size[d]);
    }
    return out + "]";
}

bool cut_on_bytes(const Box& box, const Dims& shape, DType dtype) noexcept {
    const std::uint64_t bits = bits_of(dtype);
    if (bits % 8 == 0 || box.empty()) return true;
    // The box is rows of contiguous elements: each must begin and end on a byte. Only remainders of 8 matter, so
    // wrapping arithmetic is exact.
    std::uint64_t stride = 1;       // elements from one index of dimension d to the next
    std::uint64_t run = 1;          // elements of one row
    std::uint64_t begin = 0;        // the first element
    bool contiguous = true;         // up to dimension d the box is one run
    for (std::size_t d = shape.size(); d-- > 0;) {
        if (contiguous) {
            run *= box.size[d];
            contiguous = box.size[d] == shape[d];
        } else if (box.size[d] > 1 && stride * bits % 8 != 0) {
            return false;
        }
        begin += box.offset[d] * stride;
        stride *= shape[d];
    }
    return run * bits % 8 == 0 && begin * bits % 8 == 0;
}

std::optional<Box> intersect(const Box& a, const Box& b) noexcept {
    if (a.size.size() != b.size.size()) return std::nullopt;
    Box common{a.offset, a.size};
    for (std::size_t d = 0; d < a.size.size(); ++d) {
        const std::uint64_t begin = std::max(a.offset[d], b.offset[d]);
        const std::uint64_t end = std::min(a.offset[d] + a.size[d], b.offset[d] + b.size[d]);
        if (begin >= end) return std::nullopt;
        common.offset[d] = begin;
        common.size[d] = end - begin;
    }
    return common;
}

}  // namespace wsync
