// A rank's publisher: begin_write, copy, publish.
#include "tensors.hpp"
#include "handles.hpp"

#include <chrono>

namespace wsync::python {
namespace {

using namespace std::chrono_literals;

using ParameterTuple = std::tuple<std::string_view, std::uintptr_t, std::size_t, std::string_view>;

std::span<const std::byte> bytes_at(std::uintptr_t address, std::size_t bytes) { return {reinterpret_cast<const std::byte*>(address), bytes}; }

// "": the layout's, whatever it is.
std::optional<DType> type_of_bytes(std::string_view name) { return name.empty() ? std::nullopt : std::optional(dtype_from(name)); }

// In slices, so that a signal's handler runs soon; a write's holders are not disturbed before the last of them.
std::unique_ptr<WriteHandle> begin_write(PublisherHandle& handle, std::optional<double> seconds, bool revoke) {
    const Turn turn(handle.busy);
    const auto publisher = handle.get();
    const auto until = deadline_from(seconds);
    while (true) {
        const auto slice = until.sooner(100ms);
        const bool last = until.when() && slice.when() == until.when();
        auto write = [&] {
            nb::gil_scoped_release release;
            return publisher->begin_write({slice, revoke && last});
        }();
        if (write || last || write.error().code != Code::timed_out) return std::make_unique<WriteHandle>(publisher, unwrap(std::move(write)));
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

}  // namespace

std::shared_ptr<Publisher> PublisherHandle::get() const {
    if (!publisher) throw Exception(Error{Code::invalid_argument, "this publisher is closed", {}});
    return publisher;
}

Write& WriteHandle::get() {
    if (!write) throw Exception(Error{Code::invalid_argument, "this write was published, or dropped", {}});
    return *write;
}

void bind_publisher(nb::module_& module) {
    nb::class_<WriteHandle>(module, "WriteHandle")
        .def("shards", [](WriteHandle& self) {
            nb::list list;
            for (std::size_t i = 0; i < self.get().size(); ++i) {
                const auto shard = self.get().shard(i);
                const auto dtype = name_of(shard.dtype);
                list.append(nb::make_tuple(nb::str(shard.name.data(), shard.name.size()), nb::str(dtype.data(), dtype.size()), tuple_from(shard.box.offset),
                                           tuple_from(shard.box.size)));
            }
            return list;
        }, nb::sig("def shards(self) -> list[tuple[str, str, tuple[int, ...], tuple[int, ...]]]"), "(name, dtype, offset, size) of each.")
        .def("copy", [](WriteHandle& self, std::size_t i, std::uintptr_t address, std::size_t bytes, std::string_view dtype) {
            const Turn turn(self.busy);
            auto& write = self.get();
            const auto from = type_of_bytes(dtype);
            without_gil([&] { return write.copy(i, bytes_at(address, bytes), from); });
        }, nb::arg("index"), nb::arg("address"), nb::arg("nbytes"), nb::arg("dtype"))
        .def("copy_from", [](WriteHandle& self, const std::vector<ParameterTuple>& given) {
            const Turn turn(self.busy);
            std::vector<Parameter> parameters;
            parameters.reserve(given.size());
            for (const auto& [name, address, bytes, dtype] : given) parameters.push_back({name, bytes_at(address, bytes), type_of_bytes(dtype)});
            auto& write = self.get();
            without_gil([&] { return write.copy_from(parameters); });
        }, nb::arg("parameters"), nb::sig("def copy_from(self, parameters: list[tuple[str, int, int, str]]) -> None"),
             "(name, address, nbytes, dtype) of each; \"\" as dtype: the layout's, whatever it is.")
        .def("region", [](WriteHandle& self, std::size_t i) {
            auto& write = self.get();
            if (i >= write.size()) throw nb::index_error();
            const auto bytes = write.shard(i).bytes;
            return Memory{self.publisher, bytes.data(), bytes.size(), true};
        }, nb::arg("index"), "Where a shard lies in the slab: write it there, instead of copy.")
        .def("drop", [](WriteHandle& self) { self.end(); })
        .def_prop_ro("open", [](const WriteHandle& self) { return self.write.has_value(); });

    nb::class_<PublisherHandle>(module, "PublisherHandle")
        .def("begin_write", begin_write, nb::arg("deadline").none(), nb::arg("revoke"))
        .def("publish", [](PublisherHandle& self, WriteHandle& write, std::uint64_t step, bool save) {
            const Turn turn(self.busy);
            const Turn writing(write.busy);
            const auto publisher = self.get();
            auto& given = write.get();
            PublishOptions options;
            options.step = step;
            options.save = save;
            auto version = without_gil([&] { return publisher->publish(std::move(given), options); });
            write.end();
            return version;
        }, nb::arg("write"), nb::arg("step"), nb::arg("save"))
        .def_prop_ro("epoch", [](const PublisherHandle& self) { return self.get()->epoch(); })
        .def_prop_ro("holds", [](const PublisherHandle& self) { return self.get()->holds(); })
        .def_prop_ro("closed", [](const PublisherHandle& self) { return self.publisher == nullptr; })
        .def("close", [](PublisherHandle& self) {
            const Turn turn(self.busy);
            auto closing = std::move(self.publisher);
            nb::gil_scoped_release release;
            closing.reset();
        });
}

}  // namespace wsync::python
