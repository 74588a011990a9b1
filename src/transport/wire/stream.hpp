// Connected, authenticated byte streams between processes: Unix sockets on a host, TCP beyond.
//
// Both sides prove that they know the shared secret: HMAC-SHA256 over a label, both nonces and the role; the secret never
// travels and no byte of a region moves before both proofs. Authenticated is not encrypted. Unix peers also show their
// credentials (SO_PEERCRED). TCP streams have keepalive, no delay, and reno on loopback where it is allowed.
#pragma once

#include "base/process.hpp"
#include "base/secret.hpp"
#include "wsync/base/deadline.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace wsync {

// "unix:/run/x.sock", "tcp:10.0.0.1:4711", "tcp:[::1]:4711", "tcp:node7:4711" (a name is resolved by the system, which
// knows no deadline)
struct Endpoint {
    std::string address;
    [[nodiscard]] bool is_unix() const { return address.starts_with("unix:"); }
};

struct StreamPeer {
    std::int64_t pid = -1;                 // Unix: SO_PEERCRED; -1 elsewhere or in another pid namespace
    std::uint32_t uid = 0;
    std::string name{};                    // for messages: "pid 123" or "10.0.0.2:5555"
};

// After an Error a stream is good for nothing but destruction: it may have moved a part.
class Stream {
public:
    explicit Stream(UniqueFd fd, StreamPeer peer) : fd_(std::move(fd)), peer_(std::move(peer)) {}
    // All bytes or an Error: timed_out at the deadline, peer_lost at the end of the stream or a reset.
    [[nodiscard]] Status send_all(std::span<const std::byte> bytes, Deadline deadline);
    [[nodiscard]] Status receive_all(std::span<std::byte> bytes, Deadline deadline);
    // Unix only: one descriptor beside at least one byte of payload.
    [[nodiscard]] Status send_fds(std::span<const std::byte> bytes, std::span<const int> fds, Deadline deadline);
    [[nodiscard]] Result<std::vector<UniqueFd>> receive_fds(std::span<std::byte> bytes, std::size_t max_fds, Deadline deadline);
    // Frames: u32 length (little-endian, at most max_bytes), then the bytes.
    [[nodiscard]] Status send_frame(std::span<const std::byte> payload, Deadline deadline);
    [[nodiscard]] Result<Bytes> receive_frame(std::size_t max_bytes, Deadline deadline);
    // Breaks the connection, a forked child's copy of it too: a thread blocked in it returns with peer_lost. Safe from
    // another thread.
    void shut_down() noexcept;

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] const StreamPeer& peer() const noexcept { return peer_; }

private:
    UniqueFd fd_;  // non-blocking
    StreamPeer peer_;
};

// What the connection is for; both sides must say the same ("shm", "tcp", "link").
struct Handshake {
    std::string purpose{};
    Secret secret{};
};

// Connects and proves itself, within the deadline. Error{unavailable}: nobody listens; {peer_lost}: hung up on;
// {invalid_argument}: the peer does not know our secret or we not his ("wrong secret"); {unsupported}: other major.
[[nodiscard]] Result<Stream> connect_stream(const Endpoint& endpoint, const Handshake& handshake, Deadline deadline);

struct ListenOptions {
    Endpoint endpoint{};                   // "unix:PATH" or "tcp:HOST:0" (0: any free port)
    Handshake handshake{};
    Deadline::clock::duration handshake_timeout = std::chrono::seconds(5);
    std::size_t max_connections = 256;     // served at a time; one more is told so (Error{unavailable} on its side)
    std::size_t max_unproven = 64;         // in their handshake; one more makes the oldest of them go
};

// Accepts in a thread of its own; each stream that proved itself goes to `serve` on a thread of its own, which may
// keep it (or move it away; what is left there is shut down when `serve` returns). stop() ends the accept thread, shuts
// down every stream still served and joins; not to be called from `serve`. The Unix path (mode 0600) is unlinked; one
// that is there at the start is replaced if nobody listens on it, else Error{unavailable}. Its threads block all signals.
class StreamServer {
public:
    using Serve = std::function<void(Stream&)>;
    [[nodiscard]] static Result<std::unique_ptr<StreamServer>> start(ListenOptions options, Serve serve);
    ~StreamServer();
    [[nodiscard]] const Endpoint& endpoint() const noexcept;   // with the real port
    void stop() noexcept;

private:
    struct Impl;
    explicit StreamServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace wsync
