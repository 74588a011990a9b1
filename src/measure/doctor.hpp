// What works on this machine, each thing tried; if it does not, why, and what to do.
#pragma once

#include "measure/doctor_probes.hpp"

#include <vector>

namespace wsync {

// `directory`: where files would be written. A scratch directory in /tmp comes and goes.
[[nodiscard]] Result<std::vector<Finding>> examine_machine(const std::string& directory);

}  // namespace wsync
