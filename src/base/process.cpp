#include "base/process.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wsync {
namespace {

std::string read_text(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// Field 22 of /proc/PID/stat; 0 when the process has gone. The command name may hold spaces and parentheses.
std::uint64_t start_ticks_of(std::int64_t pid) {
    const std::string stat = read_text(fmt::format("/proc/{}/stat", pid));
    auto at = stat.rfind(')');
    if (at == std::string::npos) return 0;
    for (int field = 2; field < 22; ++field) {
        at = stat.find(' ', at + 1);
        if (at == std::string::npos) return 0;
    }
    return std::strtoull(stat.c_str() + at + 1, nullptr, 10);
}

// A zombie is dead: its memory and sockets have gone, only its exit status waits.
bool is_zombie(std::int64_t pid) {
    const std::string stat = read_text(fmt::format("/proc/{}/stat", pid));
    const auto at = stat.rfind(')');
    return at != std::string::npos && at + 2 < stat.size() && (stat[at + 2] == 'Z' || stat[at + 2] == 'X');
}

}  // namespace

std::string ProcessIdentity::to_string() const { return fmt::format("{} pid {}", host, pid); }

Result<ProcessIdentity> current_process() {
    ProcessIdentity self;
    self.boot_id = read_text("/proc/sys/kernel/random/boot_id");
    while (!self.boot_id.empty() && self.boot_id.back() == '\n') self.boot_id.pop_back();
    if (self.boot_id.empty()) {
        return Error{Code::unsupported, "/proc/sys/kernel/random/boot_id is not readable: is /proc mounted?", {}};
    }
    char host[256] = {};
    ::gethostname(host, sizeof host - 1);
    self.host = host;
    struct stat ns {};
    if (::stat("/proc/self/ns/pid", &ns) == 0) self.pid_namespace = ns.st_ino;
    self.pid = ::getpid();
    self.start_ticks = start_ticks_of(self.pid);
    return self;
}

Liveness liveness_of(const ProcessIdentity& process) {
    const auto self = current_process();
    if (!self || self->boot_id != process.boot_id || self->pid_namespace != process.pid_namespace) return Liveness::unknown;
    const auto ticks = start_ticks_of(process.pid);
    if (ticks == 0 || ticks != process.start_ticks || is_zombie(process.pid)) return Liveness::dead;
    return Liveness::alive;
}

Result<UniqueFd> open_pidfd(const ProcessIdentity& process) {
    const auto self = current_process();
    if (!self) return self.error();
    if (self->boot_id != process.boot_id || self->pid_namespace != process.pid_namespace) {
        return Error{Code::unsupported, fmt::format("{} lives on another machine or in another pid namespace", process.to_string()), {}};
    }
    UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(process.pid), 0)));
    if (!fd) {
        if (errno == ESRCH) return Error{Code::not_found, fmt::format("{} has gone", process.to_string()), {}};
        return errno_error(errno, fmt::format("opening a pidfd of {}", process.to_string()));
    }
    // The pid may have been reused between its record and now.
    if (liveness_of(process) != Liveness::alive) {
        return Error{Code::not_found, fmt::format("{} has gone", process.to_string()), {}};
    }
    return fd;
}

void write(ByteWriter& out, const ProcessIdentity& process) {
    out.text(process.boot_id).text(process.host).u64(process.pid_namespace);
    out.u64(static_cast<std::uint64_t>(process.pid)).u64(process.start_ticks);
}

Result<ProcessIdentity> read_process_identity(ByteReader& in) {
    ProcessIdentity process;
    WSYNC_TRY(process.boot_id, in.text(64));
    WSYNC_TRY(process.host, in.text(256));
    WSYNC_TRY(process.pid_namespace, in.u64());
    WSYNC_TRY(auto pid, in.u64());
    process.pid = static_cast<std::int64_t>(pid);
    WSYNC_TRY(process.start_ticks, in.u64());
    return process;
}

}  // namespace wsync
