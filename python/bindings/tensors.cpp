#include "tensors.hpp"

#include <algorithm>
#include <map>
#include <nanobind/ndarray.h>
#include <numeric>

namespace wsync::python {
namespace {

constexpr std::uintptr_t kAlignment = 64;  // of tensors in a slab; what lies between two of them is less than this

// How Python's buffer protocol spells a type; null where it can't (bf16, FP8, sub-byte): those are plain bytes.
const char* format_of(DType dtype) {
    switch (dtype) {
        case DType::boolean: return "?";
        case DType::u8: return "B";
        case DType::i8: return "b";
        case DType::i16: return "h";
        case DType::u16: return "H";
        case DType::f16: return "e";
        case DType::i32: return "i";
        case DType::u32: return "I";
        case DType::f32: return "f";
        case DType::f64: return "d";
        case DType::i64: return "q";
        case DType::u64: return "Q";
        case DType::c64: return "Zf";
        default: return nullptr;
    }
}

// DLPack's code; nothing where it has none that packs as safetensors does.
std::optional<nb::dlpack::dtype> dlpack_type(DType dtype) {
    const auto make = [&](int code) { return nb::dlpack::dtype{static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits_of(dtype)), 1}; };
    switch (dtype) {
        case DType::boolean: return make(6);
        case DType::u8: case DType::u16: case DType::u32: case DType::u64: return make(1);
        case DType::i8: case DType::i16: case DType::i32: case DType::i64: return make(0);
        case DType::f16: case DType::f32: case DType::f64: return make(2);
        case DType::bf16: return make(4);
        case DType::c64: return make(5);
        case DType::f8_e4m3: return make(10);
        case DType::f8_e4m3fnuz: return make(11);
        case DType::f8_e5m2: return make(12);
        case DType::f8_e5m2fnuz: return make(13);
        case DType::f8_e8m0: return make(14);
        default: return std::nullopt;
    }
}

// What a Py_buffer points into; one allocation for each export.
struct BufferShape {
    std::array<Py_ssize_t, kMaxRank> shape{}, strides{};
};

int fill_view(Py_buffer* view, PyObject* object, const Tensor& tensor, int flags) {
    if ((flags & PyBUF_WRITABLE) == PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "a version's bytes are read-only");
        return -1;
    }
    const char* format = format_of(tensor.dtype);
    auto* data = const_cast<std::byte*>(tensor.bytes.data());
    const auto bytes = static_cast<Py_ssize_t>(tensor.bytes.size());
    if (format == nullptr || (flags & PyBUF_ND) != PyBUF_ND) return PyBuffer_FillInfo(view, object, data, bytes, 1, flags);
    auto* shape = new BufferShape;
    const auto rank = tensor.box.size.size();
    auto stride = static_cast<Py_ssize_t>(bits_of(tensor.dtype) / 8);
    view->itemsize = stride;
    for (std::size_t i = rank; i-- > 0;) {
        shape->shape[i] = static_cast<Py_ssize_t>(tensor.box.size[i]);
        shape->strides[i] = stride;
        stride *= shape->shape[i];
    }
    view->obj = Py_NewRef(object);
    view->buf = data;
    view->len = bytes;
    view->readonly = 1;
    view->ndim = static_cast<int>(rank);
    view->format = (flags & PyBUF_FORMAT) == PyBUF_FORMAT ? const_cast<char*>(format) : nullptr;
    view->shape = shape->shape.data();
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? shape->strides.data() : nullptr;
    view->suboffsets = nullptr;
    view->internal = shape;
    return 0;
}

int get_tensor_buffer(PyObject* object, Py_buffer* view, int flags) {
    return fill_view(view, object, nb::inst_ptr<TensorView>(object)->get(), flags);
}
void release_tensor_buffer(PyObject*, Py_buffer* view) { delete static_cast<BufferShape*>(view->internal); }

int get_memory_buffer(PyObject* object, Py_buffer* view, int flags) {
    auto* memory = nb::inst_ptr<Memory>(object);
    return PyBuffer_FillInfo(view, object, memory->data, static_cast<Py_ssize_t>(memory->bytes), memory->writable ? 0 : 1, flags);
}

PyType_Slot tensor_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_tensor_buffer)},
                              {Py_bf_releasebuffer, reinterpret_cast<void*>(release_tensor_buffer)},
                              {0, nullptr}};
PyType_Slot memory_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_memory_buffer)}, {0, nullptr}};

// DLPack's own object, made by nanobind, whose owner is the view.
nb::object dlpack_of(nb::handle self, const nb::kwargs& arguments) {
    const auto tensor = nb::cast<const TensorView&>(self).get();
    auto dtype = dlpack_type(tensor.dtype);
    std::array<std::size_t, kMaxRank> shape{};
    std::size_t rank = tensor.box.size.size();
    std::copy(tensor.box.size.begin(), tensor.box.size.end(), shape.begin());
    if (!dtype) {
        dtype = nb::dlpack::dtype{1, 8, 1};
        rank = 1;
        shape[0] = tensor.bytes.size();
    }
    const nb::ndarray<nb::array_api, nb::ro> array(tensor.bytes.data(), rank, shape.data(), self, nullptr, *dtype);
    return nb::cast(array).attr("__dlpack__")(**arguments);
}

nb::str text(std::string_view view) { return nb::str(view.data(), view.size()); }

struct ShapeOrder {
    bool operator()(const std::pair<std::uint32_t, Dims>& a, const std::pair<std::uint32_t, Dims>& b) const {
        return a.first != b.first ? a.first < b.first : std::lexicographical_compare(a.second.begin(), a.second.end(), b.second.begin(), b.second.end());
    }
};

// A tensor's place in a base, counted in the base's elements.
struct Place {
    std::int64_t offset = 0;
    std::size_t index = 0;  // of the tensor
};

constexpr std::size_t kMostInterleaved = 16;  // progressions that take turns: tensors of one shape in a layer

// How many tensors from `begin` on lie in `turns` progressions that take turns, and so at one distance from the one `turns` before.
std::size_t count_in_step(std::span<const Place> places, std::size_t begin, std::size_t turns) {
    if (begin + turns >= places.size()) return 0;
    const auto distance = places[begin + turns].offset - places[begin].offset;
    if (distance <= 0) return 0;
    auto end = begin + turns;
    while (end < places.size() && places[end].offset - places[end - turns].offset == distance) ++end;
    return end - begin;
}

nb::tuple tuple_from(std::uint64_t first, const Dims& others) { return nb::steal<nb::tuple>(PySequence_Concat(nb::make_tuple(first).ptr(), python::tuple_from(others).ptr())); }

// (base, offset, size, stride, names) for each progression of equal tensors: size and stride have one dimension more than theirs.
void append_runs(nb::list& runs, nb::handle base, const Dims& size, std::span<const Place> places, nb::list& names) {
    for (std::size_t begin = 0; begin < places.size();) {
        std::size_t turns = 1, count = 1;
        for (std::size_t more = 1; more <= kMostInterleaved; ++more) {
            const auto found = count_in_step(places, begin, more);
            if (found * turns > count * more) {  // more tensors to a progression
                turns = more;
                count = found;
            }
        }
        for (auto first = begin; first < begin + turns; ++first) {
            nb::list members;
            for (auto i = first; i < begin + count; i += turns) members.append(names[places[i].index]);
            auto stride = size;
            std::uint64_t elements = 1;
            for (std::size_t d = size.size(); d-- > 0; elements *= size[d]) stride[d] = elements;
            const auto distance = members.size() > 1 ? static_cast<std::uint64_t>(places[first + turns].offset - places[first].offset) : elements;
            runs.append(nb::make_tuple(base, places[first].offset, tuple_from(members.size(), size), tuple_from(distance, stride), members));
        }
        begin += count;
    }
}

// What makes views of all tensors, in one call: ([(chunk, dtype)...], [name...], [(base, offset, size, stride, [name...])...]). A base is a
// chunk seen as elements of the dtype, and offset, size and stride count those. The dtype is "" for bytes: of tensors whose type is not of
// whole bytes, or whose offset is no multiple of the element. Equal tensors at equal distances, as layers and experts have them, are one
// run, whose first dimension counts them: what makes a tensor costs more than what cuts a run into its parts.
nb::tuple runs_of(const TensorTable& table) {
    nb::list bases;
    std::map<std::pair<std::uint32_t, std::string_view>, std::uint32_t> base_of;
    std::map<std::pair<std::uint32_t, Dims>, std::vector<Place>, ShapeOrder> groups;
    auto names = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(table.tensors.size())));
    for (std::size_t i = 0; i < table.tensors.size(); ++i) {
        const auto tensor = table.tensors[i];
        const auto chunk = table.chunk_of[i];
        const auto offset = static_cast<std::size_t>(tensor.bytes.data() - table.chunks[chunk].begin);
        const auto bits = bits_of(tensor.dtype);
        const bool whole = bits % 8 == 0 && offset % (bits / 8) == 0;
        const auto dtype = whole ? name_of(tensor.dtype) : std::string_view();
        const auto [base, is_new] = base_of.try_emplace({chunk, dtype}, static_cast<std::uint32_t>(base_of.size()));
        if (is_new) bases.append(nb::make_tuple(chunk, text(dtype)));
        const auto size = whole ? tensor.box.size : Dims{tensor.bytes.size()};
        groups[{base->second, size}].push_back({static_cast<std::int64_t>(whole ? offset / (bits / 8) : offset), i});
        PyList_SetItem(names.ptr(), static_cast<Py_ssize_t>(i), nb::object(text(tensor.name)).release().ptr());
    }
    nb::list runs;
    for (const auto& [group, places] : groups) append_runs(runs, nb::cast(group.first), group.second, places, names);
    return nb::make_tuple(bases, names, runs);
}

}  // namespace

TensorTable::TensorTable(VersionPin kept) : pin(std::move(kept)), tensors(pin.tensors()), chunk_of(tensors.size()) {
    std::vector<std::uint32_t> order(tensors.size());
    std::iota(order.begin(), order.end(), 0U);
    std::vector<std::span<const std::byte>> bytes(order.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = tensors[i].bytes;
    const auto before = [&](auto a, auto b) { return bytes[a].data() < bytes[b].data(); };
    if (!std::is_sorted(order.begin(), order.end(), before)) std::sort(order.begin(), order.end(), before);
    for (const auto i : order) {
        const auto* end = bytes[i].data() + bytes[i].size();
        if (!chunks.empty() && bytes[i].data() - (chunks.back().begin + chunks.back().bytes) < static_cast<std::ptrdiff_t>(kAlignment)) {
            const auto needed = static_cast<std::size_t>(end - chunks.back().begin);
            chunks.back().bytes = std::max(chunks.back().bytes, needed);
        } else {
            // From a multiple of the alignment, so that every type's elements can be counted from there. Same page.
            const auto* begin = bytes[i].data() - reinterpret_cast<std::uintptr_t>(bytes[i].data()) % kAlignment;
            chunks.push_back({begin, static_cast<std::size_t>(end - begin)});
        }
        chunk_of[i] = static_cast<std::uint32_t>(chunks.size() - 1);
    }
}

void bind_tensors(nb::module_& module) {
    nb::class_<Memory>(module, "Memory", nb::type_slots(memory_slots), "Bytes, by the buffer protocol; they live as long as this object.")
        .def_prop_ro("address", [](const Memory& self) { return reinterpret_cast<std::uintptr_t>(self.data); })
        .def_prop_ro("nbytes", [](const Memory& self) { return self.bytes; })
        .def_prop_ro("writable", [](const Memory& self) { return self.writable; });

    nb::class_<TensorView>(module, "TensorView", nb::type_slots(tensor_slots),
                           "One box of a tensor, where it lies: read-only, by the buffer protocol or DLPack, without a copy. Its version lives as long as it does.")
        .def_prop_ro("name", [](const TensorView& self) { return text(self.get().name); }, nb::sig("def name(self) -> str"))
        .def_prop_ro("dtype", [](const TensorView& self) { return text(name_of(self.get().dtype)); }, nb::sig("def dtype(self) -> str"), "\"BF16\"")
        .def_prop_ro("shape", [](const TensorView& self) { return tuple_from(self.get().box.size); }, nb::sig("def shape(self) -> tuple[int, ...]"),
                     "Of what is here.")
        .def_prop_ro("offset", [](const TensorView& self) { return tuple_from(self.get().box.offset); }, nb::sig("def offset(self) -> tuple[int, ...]"),
                     "Where it begins in the whole tensor.")
        .def_prop_ro("whole_shape", [](const TensorView& self) { return tuple_from(self.get().shape); }, nb::sig("def whole_shape(self) -> tuple[int, ...]"))
        .def_prop_ro("nbytes", [](const TensorView& self) { return self.get().bytes.size(); })
        .def_prop_ro("address", [](const TensorView& self) { return reinterpret_cast<std::uintptr_t>(self.get().bytes.data()); })
        .def("__dlpack__", dlpack_of, nb::sig("def __dlpack__(self, **kwargs: typing.Any) -> typing.Any"))
        .def("__dlpack_device__", [](nb::handle) { return nb::make_tuple(1, 0); }, nb::sig("def __dlpack_device__(self) -> tuple[int, int]"))
        .def("__repr__", [](const TensorView& self) {
            const auto tensor = self.get();
            return "<wsync tensor " + std::string(tensor.name) + " " + std::string(name_of(tensor.dtype)) + " " + tensor.box.to_string() + ">";
        });

    nb::class_<TensorTable>(module, "TensorTable", "The tensors of one version, kept while this or a view of it lives.")
        .def("__len__", [](const TensorTable& self) { return self.tensors.size(); })
        .def("at", [](std::shared_ptr<TensorTable> self, std::size_t i) {
            if (i >= self->tensors.size()) throw nb::index_error();
            return TensorView{std::move(self), i};
        }, nb::arg("index"))
        .def("names", [](const TensorTable& self) {
            auto list = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(self.tensors.size())));
            for (std::size_t i = 0; i < self.tensors.size(); ++i) {
                PyList_SetItem(list.ptr(), static_cast<Py_ssize_t>(i), nb::object(text(self.tensors[i].name)).release().ptr());
            }
            return list;
        }, nb::sig("def names(self) -> list[str]"), "Of each box, in the layout's order.")
        .def("runs", runs_of, nb::sig("def runs(self) -> tuple[list[tuple[int, str]], list[str], list[tuple[int, int, tuple[int, ...], tuple[int, ...], list[str]]]]"),
             "Bases (chunk, dtype), the name of each box, and runs (base, offset, size, stride, names) of equal boxes at equal distances, in "
             "elements of their base and counted by the first dimension; dtype \"\" is bytes.")
        .def("chunks", [](std::shared_ptr<TensorTable> self, bool writable) {
            std::vector<Memory> chunks;
            for (const auto& chunk : self->chunks) chunks.push_back({self, const_cast<std::byte*>(chunk.begin), chunk.bytes, writable});
            return chunks;
        }, nb::arg("writable") = false, "The memory that the tensors lie in. `writable` is said only to consumers that know no other memory: it is not.")
        .def_prop_ro("version", [](const TensorTable& self) { return self.pin.version(); });
}

}  // namespace wsync::python
