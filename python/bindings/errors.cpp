#include "bindings.hpp"

#include <atomic>
#include <cmath>

namespace wsync::python {

Deadline deadline_from(std::optional<double> seconds) {
    constexpr double kLongest = 1e9;  // 30 years; more does not fit the clock
    if (!seconds || *seconds > kLongest) return Deadline::never();
    if (std::isnan(*seconds)) throw Exception(Error{Code::invalid_argument, "a deadline is a number of seconds, or None", {}});
    return std::chrono::duration<double>(std::max(*seconds, 0.0));
}

DType dtype_from(std::string_view name) { return unwrap(dtype_from_alias(name)); }

Dims dims_from(const std::vector<std::uint64_t>& extents) {
    if (extents.size() > kMaxRank) {
        throw Exception(Error{Code::unsupported, "a tensor has at most " + std::to_string(kMaxRank) + " dimensions, not " + std::to_string(extents.size()), {}});
    }
    return Dims(std::span(extents));
}

nb::tuple tuple_from(const Dims& dims) {
    auto tuple = nb::steal<nb::tuple>(PyTuple_New(static_cast<Py_ssize_t>(dims.size())));
    for (std::size_t i = 0; i < dims.size(); ++i) {
        PyTuple_SetItem(tuple.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLongLong(dims[i]));
    }
    return tuple;
}

Turn::Turn(std::atomic<bool>& taken) : taken_(taken) {
    if (taken_.exchange(true, std::memory_order_acquire)) {
        throw Exception(Error{Code::unavailable, "another thread's call is under way on this object: one call at a time", {}});
    }
}

void bind_errors(nb::module_&) {
    nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
        try {
            std::rethrow_exception(thrown);
        } catch (const Exception& exception) {
            const auto& error = exception.error();
            nb::list context;
            for (const auto& step : error.context) context.append(step);
            const nb::object type = nb::module_::import_("wsync._error").attr("Error");
            const nb::object value = type(std::string(name_of(error.code)), error.message, nb::tuple(context));
            PyErr_SetObject(type.ptr(), value.ptr());
        }
    });
}

}  // namespace wsync::python
