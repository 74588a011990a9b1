// A hyper-rectangle of a tensor: where it begins and how far it goes, in elements.
#pragma once

#include "wsync/model/dims.hpp"
#include "wsync/model/dtype.hpp"

#include <optional>
#include <string>

namespace wsync {

struct Box {
    Dims offset;
    Dims size;  // a zero extent makes it empty; rank 0 is the one element of a scalar

    // The whole of a tensor of this shape.
    [[nodiscard]] static Box whole(const Dims& shape) { return {Dims(shape.size(), 0), shape}; }

    [[nodiscard]] std::uint64_t elements() const noexcept;
    [[nodiscard]] bool empty() const noexcept { return elements() == 0; }
    // Packed row-major bytes. Precondition: elements() * bits is a multiple of 8.
    [[nodiscard]] std::uint64_t bytes(DType dtype) const noexcept { return elements() * bits_of(dtype) / 8; }
    [[nodiscard]] bool inside(const Dims& shape) const noexcept;
    [[nodiscard]] bool contains(const Box& other) const noexcept;
    // "[0:512, 0:4096]"
    [[nodiscard]] std::string to_string() const;
    friend bool operator==(const Box&, const Box&) = default;
};

// The common part, or nothing where it is empty. Precondition: same rank.
[[nodiscard]] std::optional<Box> intersect(const Box& a, const Box& b) noexcept;

// Does every row of the box begin and end on a whole byte of the packed row-major tensor (and so of the packed box)?
// Always so for types of whole bytes. Precondition: inside(shape).
[[nodiscard]] bool cut_on_bytes(const Box& box, const Dims& shape, DType dtype) noexcept;

}  // namespace wsync
