// The directory that a verb makes or replaces: what is in its place, and what stands in the way.
#pragma once

#include "store/version_writer.hpp"

#include <string>
#include <vector>

namespace wsync::tool {

// "." for a bare name.
[[nodiscard]] std::string parent_of(const std::string& out);

// Files in the checkpoint at `out` that a new version keeps although it does not bring them: config.json, a tokenizer.
// Nothing when `out` is not there, or empty. Error{invalid_argument} names what can't be kept, so that nothing of the
// user's is lost: a directory in it, a large file, or anything where there is no checkpoint.
[[nodiscard]] Result<std::vector<ExtraFile>> files_to_keep(FileSystem& files, const std::string& out);

}  // namespace wsync::tool
