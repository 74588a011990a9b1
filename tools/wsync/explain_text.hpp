// What explain prints for people: the tutorial's words beside what was found.
#pragma once

#include "measure/explain_fsdp.hpp"
#include "measure/explain_ipc.hpp"

#include <string>

namespace wsync::tool {

[[nodiscard]] std::string text_of(const IpcExplanation& found);
[[nodiscard]] std::string text_of(const FsdpExplanation& found);
// "355 us [289 us .. 2.83 ms]": median, least and most.
[[nodiscard]] std::string spread_text(const Spread& spread);

}  // namespace wsync::tool
