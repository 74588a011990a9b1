#include "transport/wire/readiness.hpp"

#include <cerrno>

namespace wsync {

Result<bool> wait_ready(std::span<pollfd> descriptors, Deadline deadline) {
    while (true) {
        const int ready = ::poll(descriptors.data(), descriptors.size(), deadline.poll_milliseconds());
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return errno_error(errno, "waiting for a socket");
        // One call waits 1,000 seconds at most, and EINTR may come early: only the clock says that it is over.
        if (deadline.expired()) return false;
    }
}

Result<bool> wait_ready(int fd, short events, Deadline deadline) {
    pollfd one{fd, events, 0};
    return wait_ready(std::span(&one, 1), deadline);
}

}  // namespace wsync
