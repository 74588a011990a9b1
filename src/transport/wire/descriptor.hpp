// What the descriptors of transports that serve from a process have in common, as a record "WSDE" 1.0 of at most 4 KiB.
//
// decode takes any bytes. It proves the form and no more: whether the process lives and this is its machine is
// check_reachable's question, whether the peer is the right one the handshake's and the nonce's.
#pragma once

#include "transport/transport.hpp"
#include "transport/wire/stream.hpp"

namespace wsync {

inline constexpr std::size_t kMaxDescriptorBytes = 4096;
inline constexpr RecordKind kDescriptorKind{"WSDE", 1, 0};

struct ServedRegion {
    std::string transport;              // "shm", "tcp"
    ProcessIdentity process;            // the exporter
    std::uint64_t region_bytes = 0;
    MemoryKind kind = MemoryKind::host;
    bool allow_write = false;
    Nonce nonce{};                      // of this exposure; the exporter compares it
    std::vector<Endpoint> endpoints;    // 1 to 8; any of them serves
    Bytes extra;                        // the transport's own, at most 1 KiB
};

// Error{invalid_argument} for what does not fit in 4 KiB.
[[nodiscard]] Result<Descriptor> encode_descriptor(const ServedRegion& region);

// Error{invalid_argument}: of another transport than `transport`; {unsupported}: another major, both named;
// {corrupt}: everything else.
[[nodiscard]] Result<ServedRegion> decode_descriptor(const Descriptor& descriptor, std::string_view transport);

// Error{unsupported}: another machine, where `same_host_only`; {peer_lost}: the process has gone.
[[nodiscard]] Status check_reachable(const ServedRegion& region, bool same_host_only);

}  // namespace wsync
