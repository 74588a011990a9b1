// The control plane that publish and pull meet at when none is named.
#pragma once

#include <fmt/format.h>
#include <string>
#include <unistd.h>

namespace wsync::tool {

// One folder a user; other hosts need --control with a folder that both see.
[[nodiscard]] inline std::string default_control() { return fmt::format("dir:/tmp/wsync-control-{}", ::getuid()); }

}  // namespace wsync::tool
