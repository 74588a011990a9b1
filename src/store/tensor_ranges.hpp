// Where a box of a tensor lies in the file that holds the tensor whole.
#pragma once

#include "store/file_system.hpp"
#include "wsync/model/manifest.hpp"
#include "wsync/model/box.hpp"

namespace wsync {

// Appends the ranges that are `box` of a tensor that begins at `tensor_offset` in its file, row-major; in memory it is
// packed, from `memory_offset` on. One range where the box is flat or rows in the tensor: then the range's digest is the
// box's own. More for some boxes of three and more dimensions. Precondition: the box is inside the tensor, cut on bytes.
void append_ranges(std::vector<FileRange>& out, const TensorSpec& tensor, std::uint64_t tensor_offset, const Box& box, const Region* memory,
                   std::uint64_t memory_offset);

}  // namespace wsync
