// A loop over independent pieces on a bounded number of threads, the caller's among them.
#pragma once

#include <cstddef>
#include <functional>

namespace wsync {

// Calls body(i) once for each i in [0, count), from at most `threads` threads; returns when all have returned. The body
// must not throw. One thread runs everything in the caller, in order.
void parallel_for(std::size_t count, unsigned threads, const std::function<void(std::size_t)>& body);

}  // namespace wsync
