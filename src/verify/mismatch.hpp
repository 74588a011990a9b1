// The one message for bytes that are not what they must be.
#pragma once

#include "wsync/base/error.hpp"
#include "wsync/model/box.hpp"

namespace wsync {

struct Mismatch {
    std::string tensor;
    Box box;                   // in the tensor's coordinates
    std::uint64_t offset = 0;  // where it begins in the bytes that were compared (the sink's slab, a file)
    std::uint64_t bytes = 0;   // how long it is
};

// Error{corrupt}: tensor "X", box [0:4, 0:8], bytes 64..128: digest differs from the publisher's.
[[nodiscard]] Error mismatch_error(const Mismatch& mismatch);

}  // namespace wsync
