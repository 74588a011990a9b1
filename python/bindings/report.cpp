// SyncReport and Version.
#include "bindings.hpp"
#include "wsync/report/stage_bar.hpp"
#include "wsync/report/sync_json.hpp"
#include "wsync/report/sync_report.hpp"

namespace wsync::python {

void bind_report(nb::module_& module) {
    nb::class_<Version>(module, "Version", "A version of the weights.")
        .def_ro("name", &Version::name)
        .def_ro("run", &Version::run)
        .def_ro("epoch", &Version::epoch, "Grows each time that a publisher opens the name.")
        .def_ro("number", &Version::number, "Grows by one with each publication of an epoch, from 1.")
        .def_ro("step", &Version::step, "The trainer's, as it said.")
        .def_ro("parent", &Version::parent)
        .def_prop_ro("digest", [](const Version& self) { return self.digest.hex(); })
        .def_prop_ro("label", &Version::label, "\"policy@1.4+1f2e3d4c\"")
        .def("newer_than", &Version::newer_than, nb::arg("other"))
        .def("__eq__", [](const Version& self, nb::handle other) { return nb::isinstance<Version>(other) && self == nb::cast<const Version&>(other); },
             nb::arg("other").none(), nb::sig("def __eq__(self, other: object) -> bool"))
        .def("__hash__", [](const Version& self) { return std::hash<std::string>{}(self.label()); })
        .def("__str__", &Version::label)
        .def("__repr__", [](const Version& self) { return "<wsync.Version " + self.label() + ">"; });

    nb::class_<SyncReport>(module, "SyncReport", "What a sync did and cost.")
        .def_ro("name", &SyncReport::name)
        .def_ro("version", &SyncReport::version, "The label.")
        .def_ro("step", &SyncReport::step)
        .def_ro("method", &SyncReport::method, "\"shm_map\", \"shm_copy\", \"tcp\", \"disk\"")
        .def_ro("transport", &SyncReport::transport, "Really used.")
        .def_prop_ro("use", [](const SyncReport& self) { return std::string(name_of(self.use)); })
        .def_ro("first", &SyncReport::first, "The first sync of this receiver.")
        .def_prop_ro("seconds", &SyncReport::seconds)
        .def_prop_ro("stages", [](const SyncReport& self) {
            nb::dict stages;
            for (int i = 0; i < kStageCount; ++i) {
                const auto stage = static_cast<Stage>(i);
                stages[nb::str(name_of(stage).data(), name_of(stage).size())] = self.stages[stage];
            }
            return stages;
        }, nb::sig("def stages(self) -> dict[str, float]"), "Seconds by stage, in their order; they add up to `seconds`.")
        .def_ro("bytes_needed", &SyncReport::bytes_needed)
        .def_ro("bytes_moved", &SyncReport::bytes_moved)
        .def_ro("blocks_reused", &SyncReport::blocks_reused)
        .def_ro("blocks_verified", &SyncReport::blocks_verified)
        .def_ro("peak_extra_bytes", &SyncReport::peak_extra_bytes, "By role.")
        .def_prop_ro("verification", [](const SyncReport& self) { return std::string(name_of(self.verification)); })
        .def_ro("trainer_blocked_seconds", &SyncReport::trainer_blocked_seconds)
        .def_rw("engine_stalled_seconds", &SyncReport::engine_stalled_seconds, "Pause to resume; the engine's backend fills it in.")
        .def_ro("notes", &SyncReport::notes)
        .def_ro("configuration", &SyncReport::configuration, "As it was in effect.")
        .def("add_stage", [](SyncReport& self, std::string_view name, double seconds) {
            for (int i = 0; i < kStageCount; ++i) {
                if (name_of(static_cast<Stage>(i)) != name) continue;
                self.stages[static_cast<Stage>(i)] += seconds;
                return;
            }
            throw Exception(Error{Code::invalid_argument, "no stage \"" + std::string(name) + "\"", {}});
        }, nb::arg("stage"), nb::arg("seconds"), "What the caller did for this sync himself: \"pause\", \"install\", \"flush\", \"resume\".")
        .def("add_note", [](SyncReport& self, std::string note) { self.notes.push_back(std::move(note)); }, nb::arg("note"))
        .def("metrics", &SyncReport::metrics, "A flat dict for dashboards: \"wsync/seconds\", \"wsync/stage/move\", ...")
        .def("json", [](const SyncReport& self, int indent) { return to_json(self, indent); }, nb::arg("indent") = 2, "The document wsync.sync/1.")
        .def("__repr__", [](const SyncReport& self) { return "<wsync.SyncReport " + self.version + " by " + self.method + ">"; });
}

}  // namespace wsync::python
