// How a long measurement ends when its caller wants no more of it.
#pragma once

#include "wsync/base/result.hpp"

#include <atomic>
#include <fmt/format.h>
#include <string_view>

namespace wsync {

// `interrupted` may be null: nobody can. Error{cancelled}: "WHAT was interrupted".
[[nodiscard]] inline Status check_interrupted(const std::atomic<bool>* interrupted, std::string_view what) {
    if (interrupted != nullptr && *interrupted) return Error{Code::cancelled, fmt::format("{} was interrupted", what), {}};
    return {};
}

}  // namespace wsync
