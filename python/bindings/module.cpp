#include "bindings.hpp"

NB_MODULE(_wsync, module) {
    using namespace wsync::python;
    nanobind::set_leak_warnings(false);  // objects that the interpreter's end leaves behind are not ours to complain about
    module.doc() = "The engine behind wsync's Python package; use the names in wsync.";
    bind_errors(module);
    bind_model(module);
    bind_plan(module);
    bind_predict(module);
    bind_report(module);
    bind_buffers(module);
    bind_tensors(module);
    bind_publisher(module);
    bind_receiver(module);
    bind_session(module);
}
