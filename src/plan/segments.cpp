#include "plan/segments.hpp"

#include <array>

namespace wsync {
namespace {

// One loop over a dimension (or several that became one), strides in elements.
struct Level {
    std::uint64_t count = 1, source_stride = 0, sink_stride = 0;
};

}  // namespace

void append_rows(std::vector<Rows>& out, DType dtype, const Box& source_shard, const Box& source_box, const Box& sink_shard, const Box& sink_box) {
    if (source_box.empty()) return;
    std::array<Level, kMaxRank> levels;  // innermost first
    std::size_t depth = 0;
    std::uint64_t run = 1;  // elements that lie one behind the other on both sides
    std::uint64_t source_stride = 1, sink_stride = 1, source_at = 0, sink_at = 0;
    for (std::size_t d = source_box.size.size(); d-- > 0;) {
        const std::uint64_t count = source_box.size[d];
        source_at += (source_box.offset[d] - source_shard.offset[d]) * source_stride;
        sink_at += (sink_box.offset[d] - sink_shard.offset[d]) * sink_stride;
        if (count > 1) {
            if (depth == 0 && source_stride == run && sink_stride == run) {
                run *= count;
            } else if (depth > 0 && source_stride == levels[depth - 1].source_stride * levels[depth - 1].count &&
                       sink_stride == levels[depth - 1].sink_stride * levels[depth - 1].count) {
                levels[depth - 1].count *= count;  // whole rows of rows on both sides: one longer loop
            } else {
                levels[depth++] = {count, source_stride, sink_stride};
            }
        }
        source_stride *= source_shard.size[d];
        sink_stride *= sink_shard.size[d];
    }

    const std::uint64_t bits = bits_of(dtype);
    const auto bytes = [bits](std::uint64_t elements) { return elements * bits / 8; };
    Rows rows{bytes(source_at), bytes(run), bytes(sink_at), bytes(run), bytes(run), 1};
    if (depth > 0) {
        rows.source_stride = bytes(levels[0].source_stride);
        rows.sink_stride = bytes(levels[0].sink_stride);
        rows.rows = levels[0].count;
    }
    // An odometer over the outer levels, the last one turning slowest.
    std::array<std::uint64_t, kMaxRank> index{};
    while (true) {
        out.push_back(rows);
        std::size_t level = 1;
        for (; level < depth; ++level) {
            const Level& l = levels[level];
            rows.source_offset += bytes(l.source_stride);
            rows.sink_offset += bytes(l.sink_stride);
            if (++index[level] < l.count) break;
            rows.source_offset -= bytes(l.source_stride) * l.count;
            rows.sink_offset -= bytes(l.sink_stride) * l.count;
            index[level] = 0;
        }
        if (level >= depth) return;
    }
}

}  // namespace wsync
