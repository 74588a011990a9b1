// The disk, until the user says stop: then nothing more is read or written, and what was made can still be removed.
#pragma once

#include "store/file_system.hpp"

#include <memory>

namespace wsync::tool {

// create, write, read, sync and rename answer Error{cancelled} after an interrupt; long ones stop within them. remove and
// list go on, so that whoever cleans up can.
[[nodiscard]] std::unique_ptr<FileSystem> make_interruptible_files(Transport* bulk);

}  // namespace wsync::tool
