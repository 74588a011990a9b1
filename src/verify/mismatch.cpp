#include "verify/mismatch.hpp"

#include <fmt/format.h>

namespace wsync {

Error mismatch_error(const Mismatch& mismatch) {
    return Error{Code::corrupt,
                 fmt::format("tensor \"{}\", box {}, bytes {}..{}: digest differs from the publisher's", mismatch.tensor, mismatch.box.to_string(),
                             mismatch.offset, mismatch.offset + mismatch.bytes),
                 {}};
}

}  // namespace wsync
