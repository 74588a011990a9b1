// Tensors as bits, element by element: the slow reference that plans and rows are compared with.
#pragma once

#include "wsync/model/box.hpp"

#include <vector>

namespace wsync::testing {

class ElementBits {
public:
    ElementBits(std::uint64_t elements, unsigned bits) : bits_(bits), bytes((elements * bits + 7) / 8) {}

    [[nodiscard]] std::uint64_t get(std::uint64_t element) const {
        std::uint64_t value = 0;
        for (unsigned b = 0; b < bits_; ++b) {
            const std::uint64_t at = element * bits_ + b;
            value |= (std::to_integer<std::uint64_t>(bytes[at / 8]) >> (at % 8) & 1) << b;
        }
        return value;
    }
    void set(std::uint64_t element, std::uint64_t value) {
        for (unsigned b = 0; b < bits_; ++b) {
            const std::uint64_t at = element * bits_ + b;
            const auto mask = static_cast<std::byte>(1U << (at % 8));
            bytes[at / 8] = (value >> b & 1) != 0 ? bytes[at / 8] | mask : bytes[at / 8] & ~mask;
        }
    }

private:
    unsigned bits_;

public:
    std::vector<std::byte> bytes;
};

// Calls visit(index in the whole tensor, index in the box) for each element of the box, row-major.
template <class Visit>
void for_each_element(const Box& box, const Dims& shape, Visit&& visit) {
    const std::uint64_t count = box.elements();
    for (std::uint64_t i = 0; i < count; ++i) {
        std::uint64_t rest = i, at = 0, stride = 1;
        for (std::size_t d = box.size.size(); d-- > 0;) {
            at += (box.offset[d] + rest % box.size[d]) * stride;
            rest /= box.size[d];
            stride *= shape[d];
        }
        visit(at, i);
    }
}

// The packed bytes of a box of a tensor.
inline std::vector<std::byte> packed(const ElementBits& tensor, const Dims& shape, const Box& box, DType dtype) {
    ElementBits out(box.elements(), bits_of(dtype));
    for_each_element(box, shape, [&](std::uint64_t at, std::uint64_t i) { out.set(i, tensor.get(at)); });
    return out.bytes;
}

}  // namespace wsync::testing
