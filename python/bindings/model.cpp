// Manifest, Layout: what the weights are and how they are cut.
#include "bindings.hpp"

namespace wsync::python {
namespace {

using TensorTuple = std::tuple<std::string, std::string, std::vector<std::uint64_t>>;
using ShardTuple = std::tuple<std::uint32_t, std::string, std::vector<std::uint64_t>, std::vector<std::uint64_t>>;

Manifest manifest_from(const std::vector<TensorTuple>& tensors) {
    std::vector<TensorSpec> specs;
    specs.reserve(tensors.size());
    for (const auto& [name, dtype, shape] : tensors) specs.push_back({name, dtype_from(dtype), dims_from(shape)});
    return unwrap(Manifest::make(std::move(specs)));
}

Layout layout_from(const Manifest& manifest, std::uint32_t ranks, const std::vector<ShardTuple>& shards, std::string_view coverage) {
    if (coverage != "full" && coverage != "partial") {
        throw Exception(Error{Code::invalid_argument, "coverage is \"full\" (a trainer) or \"partial\" (a receiver)", {}});
    }
    std::vector<Shard> made;
    made.reserve(shards.size());
    for (const auto& [rank, name, offset, size] : shards) {
        const auto tensor = manifest.find(name);
        if (!tensor) throw Exception(Error{Code::not_found, "the manifest has no tensor " + name, {}});
        made.push_back({rank, *tensor, {dims_from(offset), dims_from(size)}});
    }
    return unwrap(Layout::make(manifest, ranks, std::move(made), coverage == "full" ? Coverage::full : Coverage::partial));
}

nb::list specs_of(const Manifest& manifest) {
    nb::list list;
    for (const auto& spec : manifest.tensors()) {
        const auto dtype = name_of(spec.dtype);
        list.append(nb::make_tuple(spec.name, nb::str(dtype.data(), dtype.size()), tuple_from(spec.shape)));
    }
    return list;
}

nb::list shards_of(const Layout& layout, std::optional<std::uint32_t> rank) {
    if (rank && *rank >= layout.ranks()) {
        throw Exception(Error{Code::invalid_argument, "rank " + std::to_string(*rank) + " of a layout of " + std::to_string(layout.ranks()) + " ranks", {}});
    }
    nb::list list;
    for (const auto& shard : rank ? layout.shards_of(*rank) : std::span<const Shard>(layout.shards())) {
        list.append(nb::make_tuple(shard.rank, layout.manifest()[shard.tensor].name, tuple_from(shard.box.offset), tuple_from(shard.box.size)));
    }
    return list;
}

}  // namespace

void bind_model(nb::module_& module) {
    nb::class_<Manifest>(module, "Manifest", "What the weights are: an ordered list of named, typed, shaped tensors. A value.")
        .def("__init__", [](Manifest* self, const std::vector<TensorTuple>& tensors) { new (self) Manifest(manifest_from(tensors)); }, nb::arg("tensors"),
             nb::sig("def __init__(self, tensors: collections.abc.Sequence[tuple[str, str, collections.abc.Sequence[int]]]) -> None"),
             "From (name, dtype, shape) of each tensor; a dtype as people spell it: \"bf16\", \"torch.float32\", \"F8_E4M3\".")
        .def_static("catalogue", [](std::string_view id) { return unwrap(catalogue_manifest(id)); }, nb::arg("id"), "Of a well-known model: \"qwen3-8b\".")
        .def_static("from_config", [](std::string_view text) { return unwrap(manifest_from_config(text)); }, nb::arg("config_json"),
                    "From the text of a Hugging Face config.json.")
        .def_static("of_size", [](std::uint64_t bytes) { return unwrap(manifest_of_size(bytes)); }, nb::arg("nbytes"), "A stand-in of exactly so many bytes.")
        .def_static("uniform", [](std::uint32_t count, std::uint64_t each) { return unwrap(uniform_manifest(count, each)); }, nb::arg("count"),
                    nb::arg("nbytes_each"), "Equal bf16 tensors.")
        .def_prop_ro("tensors", specs_of, nb::sig("def tensors(self) -> list[tuple[str, str, tuple[int, ...]]]"), "(name, dtype, shape) of each, in order.")
        .def_prop_ro("names", [](const Manifest& self) {
            nb::list names;
            for (const auto& spec : self.tensors()) names.append(spec.name);
            return names;
        }, nb::sig("def names(self) -> list[str]"))
        .def("__len__", &Manifest::size)
        .def("__contains__", [](const Manifest& self, std::string_view name) { return self.find(name).has_value(); }, nb::arg("name"))
        .def("__getitem__", [](const Manifest& self, std::string_view name) {
            const auto at = self.find(name);
            if (!at) throw nb::key_error(std::string(name).c_str());
            const auto dtype = name_of(self[*at].dtype);
            return nb::make_tuple(nb::str(dtype.data(), dtype.size()), tuple_from(self[*at].shape));
        }, nb::arg("name"), nb::sig("def __getitem__(self, name: str) -> tuple[str, tuple[int, ...]]"), "(dtype, shape)")
        .def_prop_ro("nbytes", &Manifest::bytes)
        .def_prop_ro("parameters", &Manifest::parameters, "Elements of all tensors.")
        .def_prop_ro("digest", [](const Manifest& self) { return self.digest().hex(); })
        .def("__eq__", [](const Manifest& self, nb::handle other) { return nb::isinstance<Manifest>(other) && self == nb::cast<const Manifest&>(other); },
             nb::arg("other").none(), nb::sig("def __eq__(self, other: object) -> bool"))
        .def("__hash__", [](const Manifest& self) { return std::hash<std::string>{}(self.digest().hex()); })
        .def("__repr__", [](const Manifest& self) {
            return "<wsync.Manifest of " + std::to_string(self.size()) + " tensors, " + std::to_string(self.bytes()) + " bytes>";
        });

    nb::class_<Layout>(module, "Layout", "Which rank holds which box of each tensor. A value; a trainer's holds every element (coverage \"full\").")
        .def("__init__", [](Layout* self, const Manifest& manifest, std::uint32_t ranks, const std::vector<ShardTuple>& shards, std::string_view coverage) {
            new (self) Layout(layout_from(manifest, ranks, shards, coverage));
        }, nb::arg("manifest"), nb::arg("ranks"), nb::arg("shards"), nb::arg("coverage") = "full",
             nb::sig("def __init__(self, manifest: Manifest, ranks: int, shards: collections.abc.Sequence[tuple[int, str, "
                     "collections.abc.Sequence[int], collections.abc.Sequence[int]]], coverage: str = \"full\") -> None"),
             "Shards are (rank, name, offset, size) in elements.")
        .def_static("replicated", [](const Manifest& manifest, std::uint32_t ranks) { return unwrap(Layout::replicated(manifest, ranks)); },
                    nb::arg("manifest"), nb::arg("ranks") = 1, "Every rank holds every tensor whole.")
        .def_static("mesh", [](const Manifest& manifest, std::uint32_t fully_sharded, std::uint32_t replicas, std::uint32_t tensor_parallel,
                               std::uint32_t pipeline, std::uint32_t experts) {
            MeshOptions mesh;
            mesh.fully_sharded = fully_sharded;
            mesh.replicas = replicas;
            mesh.tensor_parallel = tensor_parallel;
            mesh.pipeline = pipeline;
            mesh.experts = experts;
            return unwrap(make_mesh_layout(manifest, mesh));
        }, nb::arg("manifest"), nb::kw_only(), nb::arg("fully_sharded") = 1, nb::arg("replicas") = 1, nb::arg("tensor_parallel") = 1,
                    nb::arg("pipeline") = 1, nb::arg("experts") = 1, "FSDP, HSDP, tensor, pipeline and expert parallel.")
        .def_static("round_robin", [](const Manifest& manifest, std::uint32_t ranks) { return unwrap(make_round_robin_layout(manifest, ranks)); },
                    nb::arg("manifest"), nb::arg("ranks"), "Whole tensors dealt out in order.")
        .def_prop_ro("manifest", &Layout::manifest)
        .def_prop_ro("ranks", &Layout::ranks)
        .def_prop_ro("coverage", [](const Layout& self) { return self.coverage() == Coverage::full ? "full" : "partial"; })
        .def("shards", shards_of, nb::arg("rank") = nb::none(),
             nb::sig("def shards(self, rank: int | None = None) -> list[tuple[int, str, tuple[int, ...], tuple[int, ...]]]"),
             "(rank, name, offset, size) of one rank, or of all. Empty ones are not kept.")
        .def("nbytes", [](const Layout& self, std::uint32_t rank) {
            if (rank >= self.ranks()) throw Exception(Error{Code::invalid_argument, "no rank " + std::to_string(rank), {}});
            return self.bytes_of(rank);
        }, nb::arg("rank"), "Bytes that a rank holds.")
        .def_prop_ro("digest", [](const Layout& self) { return self.digest().hex(); })
        .def("__eq__", [](const Layout& self, nb::handle other) { return nb::isinstance<Layout>(other) && self == nb::cast<const Layout&>(other); },
             nb::arg("other").none(), nb::sig("def __eq__(self, other: object) -> bool"))
        .def("__hash__", [](const Layout& self) { return std::hash<std::string>{}(self.digest().hex()); })
        .def("__repr__", [](const Layout& self) {
            return "<wsync.Layout of " + std::to_string(self.manifest().size()) + " tensors over " + std::to_string(self.ranks()) + " ranks>";
        });

    module.def("normal_dtype", [](std::string_view name) { return std::string(name_of(dtype_from(name))); }, nb::arg("name"),
               "The safetensors spelling: \"bf16\", \"bfloat16\" and \"torch.bfloat16\" are \"BF16\".");
    module.def("bits_of", [](std::string_view name) { return bits_of(dtype_from(name)); }, nb::arg("dtype"), "Bits of one element.");
}

}  // namespace wsync::python
