// What the binding's files share: from Result to exception, from Python's arguments to wsync's.
//
// Bindings are thin: every rule lives in wsync, every convenience in the Python files beside them. Functions that may
// wait or move weights release the GIL; none of them touches a Python object meanwhile.
#pragma once

#include "wsync/wsync.hpp"

#include <atomic>
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

namespace wsync::python {

namespace nb = nanobind;

// The value, or wsync.Error.
template <class T>
T unwrap(Result<T>&& result) {
    return std::move(result).value();
}
inline void unwrap(Status&& status) { status.value(); }

// The same for a call that may take long: without the GIL.
template <class F>
auto without_gil(F&& f) {
    auto result = [&] {
        nb::gil_scoped_release release;
        return f();
    }();
    return unwrap(std::move(result));
}

// Seconds from now; nothing: as long as it takes.
[[nodiscard]] Deadline deadline_from(std::optional<double> seconds);
[[nodiscard]] DType dtype_from(std::string_view name);
[[nodiscard]] Dims dims_from(const std::vector<std::uint64_t>& extents);
[[nodiscard]] nb::tuple tuple_from(const Dims& dims);

// One call at a time: objects that wsync gives to one thread answer a second one with an Error instead of a race.
class Turn {
public:
    explicit Turn(std::atomic<bool>& taken);
    ~Turn() { taken_.store(false, std::memory_order_release); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    std::atomic<bool>& taken_;
};

void bind_errors(nb::module_& module);
void bind_model(nb::module_& module);
void bind_plan(nb::module_& module);
void bind_predict(nb::module_& module);
void bind_report(nb::module_& module);
void bind_buffers(nb::module_& module);
void bind_tensors(nb::module_& module);
void bind_publisher(nb::module_& module);
void bind_receiver(nb::module_& module);
void bind_session(nb::module_& module);

}  // namespace wsync::python
