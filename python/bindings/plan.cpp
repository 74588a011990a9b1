// make_plan: which bytes go from where to where.
#include "bindings.hpp"

namespace wsync::python {
namespace {

using BoxTuple = std::pair<std::vector<std::uint64_t>, std::vector<std::uint64_t>>;
using MappedTuple = std::tuple<std::string, BoxTuple, std::optional<std::string>, BoxTuple>;

Box box_from(const BoxTuple& box) { return {dims_from(box.first), dims_from(box.second)}; }
nb::tuple box_tuple(const Box& box) { return nb::make_tuple(tuple_from(box.offset), tuple_from(box.size)); }

Mapping mapping_from(const std::vector<MappedTuple>& boxes) {
    Mapping mapping;
    for (const auto& [sink, sink_box, source, source_box] : boxes) {
        mapping.boxes.push_back({sink, box_from(sink_box), source.value_or(""), box_from(source_box), std::byte{}});
    }
    return mapping;
}

// Layouts travel with the plan: its steps are numbers into them.
struct BoundPlan {
    Plan plan;
    Layout source, sink;
};

}  // namespace

void bind_plan(nb::module_& module) {
    nb::class_<BoundPlan>(module, "Plan", "Copies and fills from one layout to another. Each byte of the sink is written exactly once.")
        .def_prop_ro("copies", [](const BoundPlan& self) {
            nb::list list;
            for (const auto& copy : self.plan.copies()) {
                const auto& from = self.source.shards()[copy.source_shard];
                const auto& to = self.sink.shards()[copy.sink_shard];
                list.append(nb::make_tuple(from.rank, self.source.manifest()[from.tensor].name, box_tuple(copy.source_box), to.rank,
                                           self.sink.manifest()[to.tensor].name, box_tuple(copy.sink_box)));
            }
            return list;
        }, nb::sig("def copies(self) -> list[tuple[int, str, tuple[tuple[int, ...], tuple[int, ...]], int, str, tuple[tuple[int, ...], tuple[int, ...]]]]"),
                     "(source rank, tensor, box, sink rank, tensor, box); a box is (offset, size).")
        .def_prop_ro("copied_bytes", [](const BoundPlan& self) { return self.plan.copied_bytes(); })
        .def_prop_ro("filled_bytes", [](const BoundPlan& self) { return self.plan.filled_bytes(); })
        .def_prop_ro("bytes_by_source", [](const BoundPlan& self) { return self.plan.bytes_by_source(); })
        .def_prop_ro("bytes_by_sink", [](const BoundPlan& self) { return self.plan.bytes_by_sink(); })
        .def_prop_ro("digest", [](const BoundPlan& self) { return self.plan.digest().hex(); })
        .def("__len__", [](const BoundPlan& self) { return self.plan.copies().size() + self.plan.fills().size(); })
        .def("__str__", [](const BoundPlan& self) { return self.plan.summary(self.source, self.sink); });

    module.def("make_plan", [](const Layout& source, const Layout& sink, const std::vector<MappedTuple>& mapping, const std::vector<std::uint32_t>& sink_ranks,
                               std::uint32_t replica_seed) {
        const auto boxes = mapping_from(mapping);
        const PlanOptions options{sink_ranks, replica_seed};
        auto plan = without_gil([&] { return make_plan(source, sink, boxes, options); });
        return BoundPlan{std::move(plan), source, sink};
    }, nb::arg("source"), nb::arg("sink"), nb::kw_only(), nb::arg("mapping") = std::vector<MappedTuple>(),
               nb::arg("sink_ranks") = std::vector<std::uint32_t>(), nb::arg("replica_seed") = 0,
               nb::sig("def make_plan(source: Layout, sink: Layout, *, mapping: collections.abc.Sequence[tuple[str, tuple[collections.abc.Sequence[int], "
                       "collections.abc.Sequence[int]], str | None, tuple[collections.abc.Sequence[int], collections.abc.Sequence[int]]]] = ..., "
                       "sink_ranks: collections.abc.Sequence[int] = ..., replica_seed: int = 0) -> Plan"),
               "Tensors go by name, or as `mapping` says: (sink, box, source or None for zeros, box), a box being (offset, size).");
}

}  // namespace wsync::python
