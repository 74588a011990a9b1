#include "verify/at_rest.hpp"

#include "verify/host_shards.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

Error bad(std::string message) { return Error{Code::invalid_argument, std::move(message), {}}; }

std::uint64_t bytes_of(std::uint64_t elements, unsigned bits) { return elements / 8 * bits + elements % 8 * bits / 8; }

// Row `index` of the box counted in row-major order over the outer dimensions [0, inner): where it begins in the shard.
std::uint64_t row_begin(const Box& shard, const Box& box, std::size_t inner, std::uint64_t index) {
    Dims at = box.offset;
    for (std::size_t d = inner; d-- > 0;) {
        at[d] += index % box.size[d];
        index /= box.size[d];
    }
    std::uint64_t element = 0;
    for (std::size_t d = 0; d < at.size(); ++d) element = element * shard.size[d] + (at[d] - shard.offset[d]);
    return element;
}

}  // namespace

Result<Digest> digest_box_at_rest(const Layout& sink, std::size_t sink_shard, const Box& box, const Placement& placement,
                                  std::span<const Region> regions, const KernelSet& kernels) {
    if (sink_shard >= sink.shards().size()) return bad(fmt::format("shard {} is not among the layout's {}", sink_shard, sink.shards().size()));
    const Shard& shard = sink.shards()[sink_shard];
    const TensorSpec& tensor = sink.manifest()[shard.tensor];
    const std::size_t local = sink_shard - sink.first_shard_of(shard.rank);
    if (local >= placement.places.size()) {
        return bad(fmt::format("the placement has no place for box {} of tensor \"{}\" of rank {}", shard.box.to_string(), tensor.name, shard.rank));
    }
    if (box.offset.size() != box.size.size() || !shard.box.contains(box)) {
        return bad(fmt::format("box {} is not inside box {} of tensor \"{}\", which rank {} holds", box.to_string(), shard.box.to_string(),
                               tensor.name, shard.rank));
    }
    Box inside = box;
    for (std::size_t d = 0; d < box.size.size(); ++d) inside.offset[d] -= shard.box.offset[d];
    if (!cut_on_bytes(inside, shard.box.size, tensor.dtype)) {
        return bad(fmt::format("box {} cuts tensor \"{}\" ({} bits an element) inside a byte", box.to_string(), tensor.name, bits_of(tensor.dtype)));
    }
    WSYNC_TRY(const auto bytes, host_shard(placement.places[local], shard.box.bytes(tensor.dtype), regions));
    return digest_packed_box(shard.box, bytes, tensor.dtype, box, kernels);
}

Digest digest_packed_box(const Box& shard, std::span<const std::byte> bytes, DType dtype, const Box& box, const KernelSet& kernels) {
    if (box.empty()) return kernels.digest(bytes.data(), 0);

    // Rows: the innermost dimension, and those outside it for as long as they are whole in the shard.
    const unsigned bits = bits_of(dtype);
    std::size_t inner = box.size.size();
    std::uint64_t row_elements = 1;
    while (inner > 0) {
        --inner;
        row_elements *= box.size[inner];
        if (box.size[inner] != shard.size[inner]) break;
    }
    std::uint64_t rows = 1;
    std::size_t loops = 0;  // outer dimensions that really turn
    for (std::size_t d = 0; d < inner; ++d) {
        rows *= box.size[d];
        if (box.size[d] > 1) ++loops;
    }
    const auto at = [&](std::uint64_t row) { return bytes_of(row_begin(shard, box, inner, row), bits); };
    const std::uint64_t row_bytes = bytes_of(row_elements, bits), first = at(0);
    if (rows == 1) return kernels.digest(bytes.data() + first, row_bytes);
    if (loops == 1) return digest_rows(kernels, bytes.data() + first, at(1) - first, row_bytes, rows);
    Hasher hasher;
    for (std::uint64_t row = 0; row < rows; ++row) hasher.update(bytes.subspan(at(row), row_bytes));
    return hasher.finish();
}

}  // namespace wsync
