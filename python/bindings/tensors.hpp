// Views of a version's bytes, and of a slab's: Python objects that keep the memory alive as long as they live.
#pragma once

#include "bindings.hpp"

namespace wsync::python {

// A stretch of bytes with its owner, for Python's buffer protocol. `writable` is what consumers are told.
struct Memory {
    std::shared_ptr<const void> owner;
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    bool writable = false;
};

// The tensors of one version. Shared by the views made of it; the last one ends the pin, and with it the hold.
struct TensorTable {
    explicit TensorTable(VersionPin kept);

    struct Chunk {
        const std::byte* begin = nullptr;
        std::size_t bytes = 0;
    };
    VersionPin pin;
    TensorRange tensors;
    std::vector<Chunk> chunks;            // the memory that the tensors lie in, as few pieces as there are
    std::vector<std::uint32_t> chunk_of;  // of each tensor
};

struct TensorView {
    std::shared_ptr<const TensorTable> table;
    std::size_t index = 0;
    [[nodiscard]] Tensor get() const { return table->tensors[index]; }
};

}  // namespace wsync::python
