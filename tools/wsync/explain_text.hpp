// What explain prints for people: the tutorial's words beside what was found.
#pragma once

#include "measure/explain_ipc.hpp"

#include <string>

namespace wsync::tool {

[[nodiscard]] std::string text_of(const IpcExplanation& found);

}  // namespace wsync::tool
