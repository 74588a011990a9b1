#include "transport/shm/peer_process.hpp"

#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif

namespace wsync::shm {
namespace {

constexpr std::uint32_t kOverflowUid = 65534;  // what the kernel shows for a user who has no number in our namespace

// /proc/PID/status, NSpid: one number for each pid namespace from ours inwards.
bool in_inner_pid_namespace(std::int64_t pid) {
    std::ifstream status(fmt::format("/proc/{}/status", pid));
    for (std::string line; std::getline(status, line);) {
        if (!line.starts_with("NSpid:")) continue;
        std::istringstream numbers(line.substr(6));
        std::int64_t number = 0;
        int count = 0;
        while (numbers >> number) ++count;
        return count > 1;
    }
    return false;
}

bool in_other_user_namespace(std::int64_t pid) {
    struct stat ours {}, his {};
    return ::stat("/proc/self/ns/user", &ours) == 0 && ::stat(fmt::format("/proc/{}/ns/user", pid).c_str(), &his) == 0 && ours.st_ino != his.st_ino;
}

}  // namespace

bool may_be_served(const StreamPeer& peer) {
    if (peer.uid == ::geteuid() || peer.uid == 0 || peer.uid == kOverflowUid || peer.pid <= 0) return true;
    return in_inner_pid_namespace(peer.pid) || in_other_user_namespace(peer.pid);
}

Result<UniqueFd> watch_process(const Stream& stream, const ProcessIdentity& identity) {
    auto watched = open_pidfd(identity);
    if (watched) return watched;
    if (watched.error().code == Code::not_found) return Error{Code::peer_lost, std::move(watched).error().message, {}};
    // Another pid namespace: since Linux 6.5 the socket itself can say whose it is.
    int fd = -1;
    socklen_t size = sizeof fd;
    if (::getsockopt(stream.fd(), SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) return UniqueFd(fd);
    if (errno == ESRCH) return Error{Code::peer_lost, fmt::format("{} has gone", identity.to_string()), {}};
    return UniqueFd{};
}

}  // namespace wsync::shm
