// Waiting for descriptors, by a deadline.
#pragma once

#include "wsync/base/deadline.hpp"
#include "wsync/base/result.hpp"

#include <poll.h>
#include <span>

namespace wsync {

// Until one of them is ready (true) or the deadline passes (false). Restarts after signals; negative descriptors are
// skipped.
[[nodiscard]] Result<bool> wait_ready(std::span<pollfd> descriptors, Deadline deadline);

// The same for one descriptor and one direction (POLLIN, POLLOUT); hang-ups and errors count as ready.
[[nodiscard]] Result<bool> wait_ready(int fd, short events, Deadline deadline);

}  // namespace wsync
