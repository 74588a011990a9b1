// The control plane of threads in one process: a map under a mutex.
//
// A lease ends when it is destroyed; its owner can't die without the process, so no time is counted. Leases and watches
// may outlive the control. Thread-safe.
#pragma once

#include "control/control.hpp"

namespace wsync {

// `name` is for the address alone: "local:NAME".
[[nodiscard]] std::shared_ptr<Control> make_in_process_control(std::string name);

}  // namespace wsync
