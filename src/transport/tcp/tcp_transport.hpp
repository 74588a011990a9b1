// The tcp transport: one-sided reads (and writes, where they are allowed) over plain sockets.
//
// Who exposes listens on one port per transport, from the first exposure on; one thread serves each attached stream. A
// channel is one stream: several channels are several streams. Both sides prove that they know the secret before a byte
// of a region moves; nothing is encrypted.
//
// A read's completion may be used as it is: when the slab's generation moved before or while its bytes were sent, it is
// corrupt. Sent bytes are read from the exporter's pages until they are received, though, so a receiver whose hold was
// revoked asks once more after the last one: a read of no bytes with the same generation.
#pragma once

#include "base/secret.hpp"
#include "kernels/kernel_set.hpp"
#include "transport/transport.hpp"

namespace wsync {

struct TcpOptions {
    std::string listen_host = "127.0.0.1";
    std::string advertise_host;                          // in descriptors; empty: listen_host
    std::uint16_t port = 0;                              // 0: any free one
    Secret secret{};                                     // from the control plane; both sides have the same
    const KernelSet* kernels = nullptr;                  // borrowed; null: default_kernels()
    std::size_t max_connections = 256;                   // served at a time
    // Of a channel; more is not accepted until some have completed.
    std::size_t max_outstanding = 1024;
    std::uint64_t max_outstanding_bytes = 256ULL << 20;  // one transfer is always taken
    // A peer that takes or sends nothing for this long in the middle of a transfer is dropped.
    Deadline::clock::duration stall_timeout = std::chrono::seconds(30);
    bool splice = true;                                  // send mapped memory without copying it
};

// Error{invalid_argument}: a wildcard to listen on and no host to advertise. It listens only when something is exposed,
// and errors of that come from expose().
[[nodiscard]] Result<std::unique_ptr<Transport>> make_tcp_transport(TcpOptions options);

}  // namespace wsync
