// A receiver: stage, activate, roll back, pin.
#include "handles.hpp"
#include "tensors.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace wsync::python {
namespace {

using namespace std::chrono_literals;

// Runs the call on a thread of its own while this one, the main thread, looks for signals: their handlers run on the main
// thread alone. A handler that raises (Ctrl-C) interrupts the call, and is raised when that has ended.
Result<StagedVersion> stage_watching(Receiver& receiver, const StageOptions& options, bool& interrupted) {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<Result<StagedVersion>> staged;
    std::thread worker([&] {
        auto result = receiver.stage(options);
        std::lock_guard lock(mutex);
        staged.emplace(std::move(result));
        changed.notify_all();
    });
    const auto finished_within = [&](std::chrono::milliseconds time) {
        nb::gil_scoped_release release;
        std::unique_lock lock(mutex);
        return changed.wait_for(lock, time, [&] { return staged.has_value(); });
    };
    while (!finished_within(50ms)) {
        if (PyErr_CheckSignals() == 0) continue;
        interrupted = true;
        receiver.interrupt();
        break;
    }
    {
        nb::gil_scoped_release release;
        worker.join();
    }
    return *std::move(staged);
}

std::unique_ptr<StagedHandle> stage(ReceiverHandle& handle, std::optional<double> seconds, const std::optional<Version>& after, bool watch_signals) {
    const Turn turn(handle.busy);
    const auto receiver = handle.get();
    const StageOptions options{.deadline = deadline_from(seconds), .after = after};
    while (true) {
        bool interrupted = false;
        auto staged = [&]() -> Result<StagedVersion> {
            if (watch_signals) return stage_watching(*receiver, options, interrupted);
            nb::gil_scoped_release release;
            return receiver->stage(options);
        }();
        const bool cancelled = !staged && staged.error().code == Code::cancelled;
        if (interrupted) {
            handle.stale_interrupt = !cancelled;
            throw nb::python_error();
        }
        if (cancelled && std::exchange(handle.stale_interrupt, false)) continue;  // it was meant for an earlier call
        return std::make_unique<StagedHandle>(unwrap(std::move(staged)));
    }
}

}  // namespace

StagedVersion& StagedHandle::get() {
    if (!staged) throw Exception(Error{Code::invalid_argument, "this staged version was activated, or dropped", {}});
    return *staged;
}

std::shared_ptr<Receiver> ReceiverHandle::get() const {
    if (!receiver) throw Exception(Error{Code::invalid_argument, "this receiver is closed", {}});
    return receiver;
}

void bind_receiver(nb::module_& module) {
    nb::class_<StagedHandle>(module, "StagedHandle")
        .def_prop_ro("version", [](StagedHandle& self) { return self.get().version(); })
        .def_prop_ro("report", [](StagedHandle& self) { return self.get().report(); })
        .def("tensors", [](StagedHandle& self) { return std::make_shared<TensorTable>(self.get().pin()); })
        .def("drop", [](StagedHandle& self) { self.staged.reset(); })
        .def_prop_ro("open", [](const StagedHandle& self) { return self.staged.has_value(); });

    nb::class_<ReceiverHandle>(module, "ReceiverHandle")
        .def("stage", stage, nb::arg("deadline").none(), nb::arg("after").none(), nb::arg("watch_signals"))
        .def("activate", [](ReceiverHandle& self, StagedHandle& staged) {
            const Turn turn(self.busy);
            const auto receiver = self.get();
            auto& given = staged.get();
            auto result = [&] {
                nb::gil_scoped_release release;
                return receiver->activate(std::move(given));
            }();
            staged.staged.reset();
            return unwrap(std::move(result));
        }, nb::arg("staged"))
        .def("rollback", [](ReceiverHandle& self) {
            const Turn turn(self.busy);
            const auto receiver = self.get();
            return without_gil([&] { return receiver->rollback(); });
        })
        .def("newest", [](ReceiverHandle& self) {
            const Turn turn(self.busy);
            const auto receiver = self.get();
            return without_gil([&] { return receiver->newest(); });
        })
        .def("health", [](ReceiverHandle& self) {
            const Turn turn(self.busy);
            const auto receiver = self.get();
            without_gil([&] { return receiver->health(); });
        })
        .def("pin", [](ReceiverHandle& self) {
            auto pin = self.get()->pin();
            return pin ? std::make_shared<TensorTable>(std::move(pin)) : nullptr;
        }, nb::sig("def pin(self) -> TensorTable | None"))
        .def("active_number", [](ReceiverHandle& self) { return self.get()->active_number(); })
        .def("interrupt", [](ReceiverHandle& self) { self.get()->interrupt(); })
        .def_prop_ro("closed", [](const ReceiverHandle& self) { return self.receiver == nullptr; })
        .def("close", [](ReceiverHandle& self) {
            const Turn turn(self.busy);
            auto closing = std::move(self.receiver);
            nb::gil_scoped_release release;
            closing.reset();
        });

    module.def("activate_all", [](const std::vector<ReceiverHandle*>& receivers, const std::vector<StagedHandle*>& staged) {
        std::vector<std::shared_ptr<Receiver>> kept;
        std::vector<Receiver*> given;
        std::vector<StagedVersion> versions;
        for (auto* receiver : receivers) given.push_back(kept.emplace_back(receiver->get()).get());
        for (auto* one : staged) {
            versions.push_back(std::move(one->get()));
            one->staged.reset();
        }
        without_gil([&] { return activate_all(given, std::move(versions)); });
    }, nb::arg("receivers"), nb::arg("staged"));
}

}  // namespace wsync::python
