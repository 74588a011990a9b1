// What every record of ours owes to whoever reads it from a stranger.
#pragma once

#include "base/bytes.hpp"
#include "wsync/base/result.hpp"

#include <algorithm>
#include <cstdlib>

namespace wsync::fuzz {

// What was decoded from `bytes` encodes to them again, or is an Error that blames them; else the program aborts. For records that
// begin with a record kind: a newer minor (bytes 6 and 7) may have appended something.
template <class T>
void check_record(std::span<const std::byte> bytes, const Result<T>& decoded) {
    if (!decoded.has_value()) {
        if (decoded.error().code != Code::corrupt && decoded.error().code != Code::unsupported) std::abort();
        return;
    }
    const Bytes again = encode(*decoded);
    if (again.size() > bytes.size() || !std::equal(again.begin() + 8, again.end(), bytes.begin() + 8)) std::abort();
    if (bytes[6] == std::byte{0} && bytes[7] == std::byte{0} && again.size() != bytes.size()) std::abort();
}

}  // namespace wsync::fuzz
