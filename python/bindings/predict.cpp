// compare: what every method costs in every placement.
#include "bindings.hpp"
#include "wsync/predict/compare.hpp"
#include "wsync/predict/measured.hpp"

namespace wsync::python {

void bind_predict(nb::module_& module) {
    nb::class_<Comparison>(module, "Comparison", "What every method costs in every placement.")
        .def_ro("profile", &Comparison::profile)
        .def_ro("origin", &Comparison::origin, "Whose figures these are.")
        .def("json", [](const Comparison& self) { return json_of(self); }, "The document wsync.compare/1.")
        .def("__str__", [](const Comparison& self) { return text_of(self); });

    module.def("compare", [](std::optional<double> gigabytes, const Manifest* manifest, std::string_view profile, std::optional<std::string> bench_json,
                             const std::vector<std::string>& placements, const std::vector<std::string>& methods) {
        if (gigabytes && manifest != nullptr) throw Exception(Error{Code::invalid_argument, "give gigabytes or a manifest, not both", {}});
        ModelSize size = default_model_size();
        if (gigabytes) size = unwrap(model_size_from_gigabytes(nb::cast<std::string>(nb::str(nb::cast(*gigabytes)))));
        if (manifest != nullptr) size = unwrap(model_size_of("manifest", *manifest));
        CompareOptions options;
        for (const auto& name : placements) options.placements.push_back(unwrap(architecture_from_name(name)));
        options.methods = methods;
        if (bench_json) return unwrap(compare(unwrap(measured_profile(unwrap(measured_from_bench(*bench_json, std::string(profile))))), size, options));
        return unwrap(compare(unwrap(profile_from_name(profile)), size, options));
    }, nb::arg("gigabytes") = nb::none(), nb::kw_only(), nb::arg("manifest").none() = nb::none(), nb::arg("profile") = "tutorial",
               nb::arg("bench_json") = nb::none(), nb::arg("placements") = std::vector<std::string>(), nb::arg("methods") = std::vector<std::string>(),
               "Of a size in GB (140 unless told) or a manifest, by a profile (\"tutorial\", \"tutorial-stages\") or the text of a wsync.bench/1 document.");
}

}  // namespace wsync::python
