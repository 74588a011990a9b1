#include "base/process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wsync {
namespace {

// Files of /proc are small and made as they are read. Empty when there is none.
std::string read_text(const char* path) {
    const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    std::array<char, 4096> text{};
    ssize_t size = 0;
    while (fd && (size = ::read(fd.get(), text.data(), text.size())) < 0 && errno == EINTR) {}
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

struct ProcessState {
    char state = 0;                 // 'R', 'S', ... ; a zombie ('Z', 'X') is dead: its memory and sockets have gone, only its exit status waits
    std::uint64_t start_ticks = 0;  // 0 when the process has gone
};

// Fields 3 and 22 of /proc/PID/stat. The command name may hold spaces and parentheses.
ProcessState state_of(std::int64_t pid) {
    const std::string stat = read_text(fmt::format("/proc/{}/stat", pid).c_str());
    auto at = stat.rfind(')');
    if (at == std::string::npos || at + 2 >= stat.size()) return {};
    ProcessState found;
    found.state = stat[at + 2];
    for (int field = 2; field < 22; ++field) {
        at = stat.find(' ', at + 1);
        if (at == std::string::npos) return {};
    }
    found.start_ticks = std::strtoull(stat.c_str() + at + 1, nullptr, 10);
    return found;
}

bool shares_pids(const ProcessIdentity& self, const ProcessIdentity& process) {
    return self.boot_id == process.boot_id && self.pid_namespace == process.pid_namespace;
}

bool is_alive(const ProcessIdentity& process) {
    const auto found = state_of(process.pid);
    return found.start_ticks != 0 && found.start_ticks == process.start_ticks && found.state != 'Z' && found.state != 'X';
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
    self.start_ticks = state_of(self.pid).start_ticks;
    return self;
}

Liveness liveness_of(const ProcessIdentity& process) {
    const auto self = current_process();
    if (!self || !shares_pids(*self, process)) return Liveness::unknown;
    return is_alive(process) ? Liveness::alive : Liveness::dead;
}

Result<UniqueFd> open_pidfd(const ProcessIdentity& process) {
    const auto self = current_process();
    if (!self) return self.error();
    if (!shares_pids(*self, process)) {
        return Error{Code::unsupported, fmt::format("{} lives on another machine or in another pid namespace", process.to_string()), {}};
    }
    UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(process.pid), 0)));
    if (!fd) {
        if (errno == ESRCH) return Error{Code::not_found, fmt::format("{} has gone", process.to_string()), {}};
        return errno_error(errno, fmt::format("opening a pidfd of {}", process.to_string()));
    }
    // The pid may have been reused between its record and now.
    if (!is_alive(process)) {
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
