// Before the first byte: may files be made in a directory, and is there room for them?
#pragma once

#include "wsync/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace wsync {

class Manifest;

// Error{not_found}: no such directory; {invalid_argument}: a file of that name; {io_error}: forbidden, or a file system that
// is read-only. All say what to do. `what` is what is to be written there: "the versions of a bench".
[[nodiscard]] Status check_directory(const std::string& directory, std::string_view what);
// The same, and Error{resource_exhausted}, which names need, free space and directory, for less than `bytes` of room.
[[nodiscard]] Status check_room(const std::string& directory, std::uint64_t bytes, std::string_view what);
// What a version of these tensors takes on disk, digests and headers included; not less than it really does.
[[nodiscard]] std::uint64_t version_bytes(const Manifest& manifest);

}  // namespace wsync
