// Plans, carried out over real bytes and compared with a reference that is assembled element by element.
#include "plan/segments.hpp"
#include "property/plan/element_bits.hpp"
#include "property/plan/random_layouts.hpp"
#include "result_matchers.hpp"

#include <cstring>
#include <map>
#include <rapidcheck/gtest.h>

namespace wsync {
namespace {

using testing::ElementBits;
using testing::for_each_element;
using testing::pick;
using testing::random_manifest;
using testing::random_sink;
using testing::random_source;

// One tensor for each of the manifest. Over the three passes each byte gets a number of its own, so that a byte that
// comes from a wrong place differs in one of the passes.
constexpr int kPasses = 3;
std::vector<ElementBits> numbered_tensors(const Manifest& manifest, int pass) {
    std::vector<ElementBits> tensors;
    std::uint32_t number = 1;
    for (const TensorSpec& tensor : manifest.tensors()) {
        ElementBits& bits = tensors.emplace_back(tensor.elements(), bits_of(tensor.dtype));
        for (std::byte& byte : bits.bytes) byte = static_cast<std::byte>(number++ >> (8 * pass));
    }
    return tensors;
}

// The sink's tensors as the mapping says, by elements.
std::vector<ElementBits> assemble(const Manifest& source, const std::vector<ElementBits>& source_tensors, const Manifest& sink, const Mapping& mapping) {
    if (mapping.boxes.empty()) {
        std::vector<ElementBits> tensors;
        for (const TensorSpec& tensor : sink.tensors()) tensors.push_back(source_tensors[*source.find(tensor.name)]);
        return tensors;
    }
    std::vector<ElementBits> tensors;
    for (const TensorSpec& tensor : sink.tensors()) tensors.emplace_back(tensor.elements(), bits_of(tensor.dtype));
    for (const MappedBox& box : mapping.boxes) {
        const auto t = *sink.find(box.sink);
        const unsigned bits = bits_of(sink[t].dtype);
        std::vector<std::uint64_t> values;
        if (!box.source.empty()) {
            const auto s = *source.find(box.source);
            for_each_element(box.source_box, source[s].shape, [&](std::uint64_t at, std::uint64_t) { values.push_back(source_tensors[s].get(at)); });
        }
        // A fill writes its value into each byte: bit b of the box is bit b % 8 of the value.
        for_each_element(box.sink_box, sink[t].shape, [&](std::uint64_t at, std::uint64_t i) {
            if (!box.source.empty()) return tensors[t].set(at, values[i]);
            std::uint64_t value = 0;
            for (unsigned b = 0; b < bits; ++b) value |= (std::to_integer<std::uint64_t>(box.value) >> ((at * bits + b) % 8) & 1) << b;
            tensors[t].set(at, value);
        });
    }
    return tensors;
}

struct SinkBytes {
    std::vector<std::byte> bytes;
    std::vector<int> writes;
};

// Carries out the plan and checks what each step may do.
std::vector<SinkBytes> execute(const Plan& plan, const Layout& source, const std::vector<ElementBits>& tensors, const Layout& sink) {
    std::vector<std::vector<std::byte>> held;
    for (const Shard& shard : source.shards()) {
        const TensorSpec& tensor = source.manifest()[shard.tensor];
        held.push_back(testing::packed(tensors[shard.tensor], tensor.shape, shard.box, tensor.dtype));
    }
    std::vector<SinkBytes> out;
    for (const Shard& shard : sink.shards()) {
        const std::uint64_t bytes = shard.box.bytes(sink.manifest()[shard.tensor].dtype);
        out.push_back({std::vector<std::byte>(bytes), std::vector<int>(bytes, 0)});
    }
    std::vector<Rows> rows;
    for (const Copy& copy : plan.copies()) {
        const Shard &from = source.shards()[copy.source_shard], &to = sink.shards()[copy.sink_shard];
        RC_ASSERT(from.box.contains(copy.source_box));
        RC_ASSERT(to.box.contains(copy.sink_box));
        RC_ASSERT(copy.source_box.size == copy.sink_box.size);
        rows.clear();
        append_rows(rows, sink.manifest()[to.tensor].dtype, from.box, copy.source_box, to.box, copy.sink_box);
        for (const Rows& r : rows) {
            for (std::uint64_t i = 0; i < r.rows; ++i) {
                const std::uint64_t read = r.source_offset + i * r.source_stride, write = r.sink_offset + i * r.sink_stride;
                RC_ASSERT(read + r.row_bytes <= held[copy.source_shard].size());
                RC_ASSERT(write + r.row_bytes <= out[copy.sink_shard].bytes.size());
                std::memcpy(out[copy.sink_shard].bytes.data() + write, held[copy.source_shard].data() + read, r.row_bytes);
                for (std::uint64_t b = 0; b < r.row_bytes; ++b) ++out[copy.sink_shard].writes[write + b];
            }
        }
    }
    for (const Fill& fill : plan.fills()) {
        const Shard& to = sink.shards()[fill.sink_shard];
        RC_ASSERT(to.box.contains(fill.sink_box));
        rows.clear();
        append_rows(rows, sink.manifest()[to.tensor].dtype, to.box, fill.sink_box, to.box, fill.sink_box);
        for (const Rows& r : rows) {
            for (std::uint64_t i = 0; i < r.rows; ++i) {
                const std::uint64_t write = r.sink_offset + i * r.sink_stride;
                RC_ASSERT(write + r.row_bytes <= out[fill.sink_shard].bytes.size());
                std::memset(out[fill.sink_shard].bytes.data() + write, std::to_integer<int>(fill.value), r.row_bytes);
                for (std::uint64_t b = 0; b < r.row_bytes; ++b) ++out[fill.sink_shard].writes[write + b];
            }
        }
    }
    return out;
}

void check_sums(const Plan& plan, const Layout& source, const Layout& sink) {
    std::vector<std::uint64_t> by_source(source.ranks(), 0), by_sink(sink.ranks(), 0);
    std::uint64_t copied = 0, filled = 0;
    for (const Copy& copy : plan.copies()) {
        const Shard& to = sink.shards()[copy.sink_shard];
        const std::uint64_t bytes = copy.sink_box.bytes(sink.manifest()[to.tensor].dtype);
        by_source[source.shards()[copy.source_shard].rank] += bytes;
        by_sink[to.rank] += bytes;
        copied += bytes;
    }
    for (const Fill& fill : plan.fills()) filled += fill.sink_box.bytes(sink.manifest()[sink.shards()[fill.sink_shard].tensor].dtype);
    RC_ASSERT(plan.bytes_by_source() == by_source);
    RC_ASSERT(plan.bytes_by_sink() == by_sink);
    RC_ASSERT(plan.copied_bytes() == copied);
    RC_ASSERT(plan.filled_bytes() == filled);
}

void check_order(const Plan& plan, const Layout& sink) {
    const auto key = [&](const Copy& copy) {
        const Shard& shard = sink.shards()[copy.sink_shard];
        std::vector<std::uint64_t> k{shard.tensor, shard.rank};
        k.insert(k.end(), copy.sink_box.offset.begin(), copy.sink_box.offset.end());
        return k;
    };
    for (std::size_t i = 1; i < plan.copies().size(); ++i) RC_ASSERT(key(plan.copies()[i - 1]) < key(plan.copies()[i]));
}

// Plans, carries out, compares. `planned`: the sink ranks that the plan is for.
void check_plan(const Layout& source, const Layout& sink, const Mapping& mapping, const PlanOptions& options) {
    auto made = make_plan(source, sink, mapping, options);
    if (!made) {
        // Two cuts of a sub-byte tensor may meet inside a byte; nothing else may fail.
        RC_ASSERT(made.error().code == Code::invalid_argument);
        RC_ASSERT(made.error().message.find("byte") != std::string::npos);
        RC_DISCARD("the cuts meet inside a byte");
    }
    const Plan& plan = *made;
    check_sums(plan, source, sink);
    check_order(plan, sink);
    std::vector<bool> planned(sink.ranks(), options.sink_ranks.empty());
    for (std::uint32_t rank : options.sink_ranks) planned[rank] = true;
    for (int pass = 0; pass < kPasses; ++pass) {
        const auto tensors = numbered_tensors(source.manifest(), pass);
        const auto wanted = assemble(source.manifest(), tensors, sink.manifest(), mapping);
        const auto got = execute(plan, source, tensors, sink);
        for (std::size_t s = 0; s < sink.shards().size(); ++s) {
            const Shard& shard = sink.shards()[s];
            const int writes = planned[shard.rank] ? 1 : 0;
            for (int count : got[s].writes) RC_ASSERT(count == writes);
            if (!planned[shard.rank]) continue;
            const TensorSpec& tensor = sink.manifest()[shard.tensor];
            RC_ASSERT(got[s].bytes == testing::packed(wanted[shard.tensor], tensor.shape, shard.box, tensor.dtype));
        }
    }
}

std::vector<std::uint32_t> random_ranks(std::uint32_t ranks) {
    std::vector<std::uint32_t> chosen;
    if (*rc::gen::arbitrary<bool>()) return chosen;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
        if (*rc::gen::arbitrary<bool>()) chosen.push_back(rank);
    }
    return chosen;
}

RC_GTEST_PROP(plan_property, by_name_moves_each_byte_once_to_its_place, ()) {
    const Manifest manifest = random_manifest();
    const Layout source = random_source(manifest), sink = random_sink(manifest);
    check_plan(source, sink, {}, {random_ranks(sink.ranks()), pick<std::uint32_t>(0, 100)});
}

RC_GTEST_PROP(plan_property, a_sink_in_another_order_with_fewer_tensors, ()) {
    const Manifest manifest = random_manifest();
    std::vector<TensorSpec> kept;
    for (const TensorSpec& tensor : manifest.tensors()) {
        if (pick(0, 3) != 0) kept.insert(kept.begin() + pick<std::ptrdiff_t>(0, static_cast<std::ptrdiff_t>(kept.size()) + 1), tensor);
    }
    check_plan(random_source(manifest), random_sink(Manifest::make(kept).value()), {}, {});
}

// Sink tensors glued from slices of source tensors and of fills along one dimension.
RC_GTEST_PROP(plan_property, fused_and_padded_tensors, ()) {
    const Manifest manifest = random_manifest();
    const Layout source = random_source(manifest);
    Mapping mapping;
    std::vector<TensorSpec> tensors;
    for (int i = 0; i < 3; ++i) {
        if (manifest.size() == 0) break;
        const TensorSpec& model = manifest[pick<std::size_t>(0, manifest.size())];
        if (model.shape.empty()) continue;
        const auto d = pick<std::size_t>(0, model.shape.size());
        TensorSpec fused{"fused." + std::to_string(i), model.dtype, model.shape};
        fused.shape[d] = 0;
        std::vector<MappedBox> boxes;
        const int pieces = pick(1, 5);
        for (int p = 0; p < pieces; ++p) {
            MappedBox box;
            box.sink = fused.name;
            box.sink_box = Box::whole(model.shape);
            box.sink_box.offset[d] = fused.shape[d];
            if (pick(0, 3) == 0) {
                box.value = *rc::gen::element(std::byte{0}, std::byte{0x55}, std::byte{0xff});
                box.sink_box.size[d] = pick<std::uint64_t>(0, 5) * 4;
            } else {
                box.source = model.name;
                box.source_box = Box::whole(model.shape);
                const auto begin = pick<std::uint64_t>(0, model.shape[d] + 1);
                box.source_box.offset[d] = begin;
                box.source_box.size[d] = pick<std::uint64_t>(0, model.shape[d] - begin + 1);
                box.sink_box.size = box.source_box.size;
            }
            fused.shape[d] += box.sink_box.size[d];
            boxes.push_back(box);
        }
        if (fused.elements() * bits_of(fused.dtype) % 8 != 0) continue;
        tensors.push_back(fused);
        mapping.boxes.insert(mapping.boxes.end(), boxes.begin(), boxes.end());
    }
    if (mapping.boxes.empty()) RC_DISCARD("nothing to fuse");
    // The order in which the boxes are listed does not matter.
    std::rotate(mapping.boxes.begin(), mapping.boxes.begin() + pick<std::ptrdiff_t>(0, static_cast<std::ptrdiff_t>(mapping.boxes.size())),
                mapping.boxes.end());
    check_plan(source, random_sink(Manifest::make(tensors).value()), mapping, {});
}

RC_GTEST_PROP(plan_property, a_pure_function, ()) {
    const Manifest manifest = random_manifest();
    const Layout source = random_source(manifest), sink = random_sink(manifest);
    const auto a = make_plan(source, sink), b = make_plan(source, sink);
    RC_ASSERT(a.has_value() == b.has_value());
    if (!a) RC_DISCARD("the cuts meet inside a byte");
    RC_ASSERT(*a == *b);
    RC_ASSERT(a->digest() == b->digest());
}

// What one rank plans for itself does not depend on the others, but for the choice among replicas.
RC_GTEST_PROP(plan_property, a_rank_alone_plans_the_same_boxes, ()) {
    const Manifest manifest = random_manifest();
    const Layout source = random_source(manifest), sink = random_sink(manifest);
    const auto all = make_plan(source, sink);
    if (!all) RC_DISCARD("the cuts meet inside a byte");
    std::size_t copies = 0;
    for (std::uint32_t rank = 0; rank < sink.ranks(); ++rank) {
        const auto alone = make_plan(source, sink, {}, {{rank}, 0});
        RC_ASSERT(alone.has_value());
        std::vector<Copy> mine;
        for (const Copy& copy : all->copies()) {
            if (sink.shards()[copy.sink_shard].rank == rank) mine.push_back(copy);
        }
        RC_ASSERT(mine.size() == alone->copies().size());
        for (std::size_t i = 0; i < mine.size(); ++i) {
            RC_ASSERT(mine[i].sink_box == alone->copies()[i].sink_box);
            RC_ASSERT(mine[i].source_box == alone->copies()[i].source_box);
        }
        copies += mine.size();
    }
    RC_ASSERT(copies == all->copies().size());
}

// Rows: in row-major order, as long as both sides allow, and no more of them than the outer indices ask for.
RC_GTEST_PROP(plan_property, rows_are_few_and_in_order, ()) {
    const auto rank = pick<std::size_t>(0, 5);
    Box source{Dims(rank, 0), Dims(rank, 0)}, sink = source, from = source, to = source;
    for (std::size_t d = 0; d < rank; ++d) {
        const auto size = pick<std::uint64_t>(1, 5);
        for (auto [shard, box] : {std::pair(&source, &from), std::pair(&sink, &to)}) {
            const auto before = *rc::gen::element<std::uint64_t>(0, 0, 1, 2), after = *rc::gen::element<std::uint64_t>(0, 0, 1, 3);
            shard->offset[d] = pick<std::uint64_t>(0, 9);
            shard->size[d] = before + size + after;
            box->offset[d] = shard->offset[d] + before;
            box->size[d] = size;
        }
    }
    std::vector<Rows> rows;
    append_rows(rows, DType::u16, source, from, sink, to);

    // The reference: maximal runs of elements that follow each other on both sides.
    struct Run {
        std::uint64_t source, sink, bytes;
    };
    const auto inner = [rank](const Box& shard, const Box& box, std::uint64_t element) {
        std::uint64_t at = 0, stride = 1;
        for (std::size_t d = rank; d-- > 0;) {
            at += (box.offset[d] - shard.offset[d] + element % box.size[d]) * stride;
            element /= box.size[d];
            stride *= shard.size[d];
        }
        return at * 2;
    };
    std::vector<Run> runs;
    for (std::uint64_t i = 0; i < from.elements(); ++i) {
        const std::uint64_t a = inner(source, from, i), b = inner(sink, to, i);
        if (!runs.empty() && runs.back().source + runs.back().bytes == a && runs.back().sink + runs.back().bytes == b) {
            runs.back().bytes += 2;
        } else {
            runs.push_back({a, b, 2});
        }
    }
    std::vector<Run> made;
    for (const Rows& r : rows) {
        RC_ASSERT(r.rows >= 1u);
        if (r.rows == 1) RC_ASSERT(r.source_stride == r.row_bytes && r.sink_stride == r.row_bytes);
        for (std::uint64_t i = 0; i < r.rows; ++i) made.push_back({r.source_offset + i * r.source_stride, r.sink_offset + i * r.sink_stride, r.row_bytes});
    }
    RC_ASSERT(made.size() == runs.size());
    for (std::size_t i = 0; i < runs.size(); ++i) {
        RC_ASSERT(made[i].source == runs[i].source);
        RC_ASSERT(made[i].sink == runs[i].sink);
        RC_ASSERT(made[i].bytes == runs[i].bytes);
    }
    if (rank <= 2) RC_ASSERT(rows.size() <= 1u);
}

// No rank sends more than the least loaded one by more than one (largest) copy, when every rank holds everything.
RC_GTEST_PROP(plan_property, replicas_share_the_load, ()) {
    const Manifest manifest = random_manifest();
    const auto ranks = pick<std::uint32_t>(1, 6);
    const Layout source = Layout::replicated(manifest, ranks).value(), sink = random_sink(manifest);
    const auto plan = make_plan(source, sink, {}, {{}, *rc::gen::arbitrary<std::uint32_t>()});
    if (!plan) RC_DISCARD("the cuts meet inside a byte");
    std::uint64_t largest = 0;
    for (const Copy& copy : plan->copies()) {
        largest = std::max(largest, copy.sink_box.bytes(sink.manifest()[sink.shards()[copy.sink_shard].tensor].dtype));
    }
    const auto [least, most] = std::minmax_element(plan->bytes_by_source().begin(), plan->bytes_by_source().end());
    RC_ASSERT(*most - *least <= largest);
}

}  // namespace
}  // namespace wsync
