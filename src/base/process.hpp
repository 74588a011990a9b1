// Who a process is, and whether it still lives.
//
// A pid alone is not an identity (pids are reused, containers repeat them): boot id, pid and start time together are.
// Death is judged by pidfd on this machine, never by end-of-file: a forked child keeps sockets open.
#pragma once

#include "base/bytes.hpp"
#include "wsync/base/unique_fd.hpp"

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace wsync {

struct ProcessIdentity {
    std::string boot_id;            // /proc/sys/kernel/random/boot_id: the machine since its last boot
    std::string host;               // for people
    std::uint64_t pid_namespace = 0;  // inode of /proc/self/ns/pid; pids compare only within one
    std::int64_t pid = 0;
    std::uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat

    friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
    // "host pid 123"
    [[nodiscard]] std::string to_string() const;
};

[[nodiscard]] Result<ProcessIdentity> current_process();

enum class Liveness { alive, dead, unknown };  // unknown: another machine or pid namespace
[[nodiscard]] Liveness liveness_of(const ProcessIdentity& process);

// A pidfd: readable (POLLIN) once the process is dead. Error{unsupported} outside its pid namespace,
// Error{not_found} when it has gone already.
[[nodiscard]] Result<UniqueFd> open_pidfd(const ProcessIdentity& process);

void write(ByteWriter& out, const ProcessIdentity& process);
[[nodiscard]] Result<ProcessIdentity> read_process_identity(ByteReader& in);

}  // namespace wsync
