#include "store/tensor_ranges.hpp"

#include "plan/segments.hpp"

namespace wsync {

void append_ranges(std::vector<FileRange>& out, const TensorSpec& tensor, std::uint64_t tensor_offset, const Box& box, const Region* memory,
                   std::uint64_t memory_offset) {
    std::vector<Rows> rows;
    append_rows(rows, tensor.dtype, Box::whole(tensor.shape), box, box, box);
    for (const Rows& r : rows) {
        FileRange range;
        range.offset = tensor_offset + r.source_offset;
        range.memory = memory;
        range.memory_offset = memory_offset + r.sink_offset;
        range.bytes = r.row_bytes * r.rows;
        range.rows = r.rows;
        range.stride = r.source_stride;
        out.push_back(range);
    }
}

}  // namespace wsync
