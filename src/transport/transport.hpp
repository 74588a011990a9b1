// The one-sided contract: a transport moves byte ranges and never sees a tensor.
//
// Who exposes a region gets an Exposure and hands its descriptor to the other side by any means; who attaches gets a
// Channel. All I/O of a channel happens inside submit and wait, on the caller's thread: parallelism is several channels.
//
// Contract, proved for every transport by tests/conformance:
//  - each accepted ticket completes exactly once, after close() too (then with Code::cancelled);
//  - a full queue is an answer (accepted < size), not a block;
//  - wait() blocks up to its deadline, returns at least one completion or Error{timed_out} (for deadline zero: 0
//    completions); death of the peer is Completion status peer_lost for all that is under way, within the deadline;
//  - wait() with nothing under way answers 0 at once; submit() after close() is Error{cancelled};
//  - no offset or length is trusted: what lies outside a region is a completion with invalid_argument; what the
//    capabilities deny (a write, a kind of memory) is a completion, or an answer of expose or map, with unsupported;
//  - Exposure::close refuses new work and waits for work under way; at its deadline it answers timed_out and keeps the
//    memory alive;
//  - after everything is closed, descriptors, maps, threads and memfd bytes are as before.
#pragma once

#include "base/bytes.hpp"
#include "memory/region.hpp"
#include "wsync/base/deadline.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace wsync {

// What a transport can do, as data.
struct Capabilities {
    std::string_view name;                // "shm", "tcp", "file"
    bool host = false, shared = false, file = false, device = false;  // kinds it can expose
    bool read = false, write = false, map = false;
    bool rows = true;                     // strided transfers
    bool digests = true;                  // digests taken as the bytes pass
    bool fences = false;                  // device work order
    bool same_host_only = false;
};

// How to reach an exposed region: opaque bytes of at most 4 KiB, self-describing (transport name, version, boot id and
// process of the exporter). Travels in control records. A descriptor of another machine, version or a process that has
// gone is refused by attach with a reason.
struct Descriptor {
    std::string transport;
    Bytes bytes;
};

// Order against device work; the host's is empty. `value` 0: nothing to wait for.
struct Fence {
    std::uint64_t value = 0;
};

enum class Op : std::uint8_t { read, write };

// One transfer between the attached region (remote) and a local one. A flat range is one row.
struct Transfer {
    Op op = Op::read;
    std::uint64_t remote_offset = 0, remote_stride = 0;
    const Region* local = nullptr;        // borrowed until the completion
    std::uint64_t local_offset = 0, local_stride = 0;
    std::uint64_t row_bytes = 0, rows = 1;
    std::uint64_t generation = 0;         // of the slab, as granted with the hold; 0: not checked
    Fence after{};                        // the source is written and the target free
    bool want_digest = false;             // XXH3-128 of the rows, packed, as they were read from the stream
    std::uint64_t ticket = 0;             // the caller's
};

struct Completion {
    std::uint64_t ticket = 0;
    Status status{};
    Fence fence{};
    std::optional<Digest> digest;
};

class Channel {
public:
    virtual ~Channel() = default;  // closes
    // Zero copy: the attached region in this address space, read-only. Only where capabilities().map.
    [[nodiscard]] virtual Result<Region> map() = 0;
    // Takes as many as there is room for, from the front. An Error means that none was taken.
    [[nodiscard]] virtual Result<std::size_t> submit(std::span<const Transfer> transfers) = 0;
    // Fills `out` with completions, in any order; see the contract above.
    [[nodiscard]] virtual Result<std::size_t> wait(std::span<Completion> out, Deadline deadline) = 0;
    // Cancels what is under way; their completions can still be waited for. Idempotent.
    virtual void close() = 0;
    // The generation of the attached slab as the peer has it now, where it can be seen without asking (a mapped page);
    // nothing elsewhere.
    [[nodiscard]] virtual std::optional<std::uint64_t> generation() const = 0;
};

class Exposure {
public:
    virtual ~Exposure() = default;  // close with a short deadline
    [[nodiscard]] virtual const Descriptor& descriptor() const = 0;
    [[nodiscard]] virtual Status close(Deadline deadline) = 0;
};

struct ExposeOptions {
    // The generation that transfers are compared with, before they are served; null: not compared. Borrowed; must
    // outlive the exposure. Shared slabs pass &page().generation.
    const std::atomic<std::uint64_t>* generation = nullptr;
    bool allow_write = false;             // whether peers may write
};

struct AttachOptions {
    Deadline deadline = std::chrono::seconds(10);
};

class Transport {
public:
    virtual ~Transport() = default;
    [[nodiscard]] virtual const Capabilities& capabilities() const = 0;
    [[nodiscard]] virtual Result<std::unique_ptr<Exposure>> expose(const Region& region, const ExposeOptions& options) = 0;
    [[nodiscard]] virtual Result<std::unique_ptr<Channel>> attach(const Descriptor& descriptor, const AttachOptions& options) = 0;
};

}  // namespace wsync
