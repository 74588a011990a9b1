// A session: one process's place in the fleet. It owns control, transports, threads and the ledger of extra memory.
//
// The library prints nothing, reads no environment and changes no system setting: everything is an option.
#pragma once

#include "wsync/session/publisher.hpp"
#include "wsync/session/receiver.hpp"

#include <functional>
#include <map>

namespace wsync {

class Transport;

struct SessionOptions {
    std::string control;               // "dir:/run/policy" (a shared folder), "local:" (this process)
    std::string socket_directory;      // for Unix sockets, a short path; empty: /tmp/wsync-UID (mode 0700)
    std::string tcp_host = "127.0.0.1";  // what tcp listens on; the address that other hosts reach. Empty: no tcp
    bool shm = true;
    std::string kernels;               // "memcpy", "movsb", "avx2_nt", "avx512_nt"; empty: by the processor's table
    // Wraps each transport that the session makes: for tests and demonstrations of faults.
    std::function<std::unique_ptr<Transport>(std::unique_ptr<Transport>)> decorate;
};

class Session {
public:
    [[nodiscard]] static Result<Session> open(const SessionOptions& options);
    Session(Session&&) noexcept;
    Session& operator=(Session&&) noexcept;
    ~Session();

    // Publishers and receivers may outlive the session object; they share what it owns.
    [[nodiscard]] Result<Publisher> publisher(const PublisherOptions& options);
    [[nodiscard]] Result<Receiver> receiver(const ReceiverOptions& spec);

    // Peak bytes of extra memory by role, since the session was opened or the peak was reset.
    [[nodiscard]] std::map<std::string, std::uint64_t> peak_extra_bytes() const;
    void reset_peak();

    struct Impl;  // the session's own state; shared with what it made

private:
    explicit Session(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

}  // namespace wsync
