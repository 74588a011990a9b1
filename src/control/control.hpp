// The control plane's contract: opaque values of at most 64 KiB under keys.
//
// Keys are '/'-separated segments of [A-Za-z0-9._@+-] (1 to 128 characters each, none of them "." or ".."), 512 characters
// in all. Weights and long lists never pass through it. Thread-safe. A lease is a control-plane time-to-live and nothing else:
// values put under it vanish when its owner stops renewing it (or is seen to be dead).
#pragma once

#include "base/bytes.hpp"
#include "wsync/base/deadline.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace wsync {

inline constexpr std::size_t kMaxControlValueBytes = 64 * 1024;

// Grows with each change of one key; 0: the key does not exist.
using Revision = std::uint64_t;

struct ControlEntry {
    std::string key;
    Bytes value;
    Revision revision = 0;
};

// Renews itself in a thread of its control until destroyed; then the values under it are removed.
class Lease {
public:
    virtual ~Lease() = default;
    [[nodiscard]] virtual const std::string& id() const = 0;
};

// Level-triggered: wait answers with the entries under the prefix that changed since the last answer (the newest value
// of each; intermediates may be skipped; removed keys have revision 0). The first answer is all that is there; with nothing
// there, wait goes on until there is. A wake() before a wait counts for it.
// One thread, but wake().
class Watch {
public:
    virtual ~Watch() = default;
    [[nodiscard]] virtual Result<std::vector<ControlEntry>> wait(Deadline deadline) = 0;  // timed_out: nothing changed
    virtual void wake() = 0;              // a wait under way returns Error{cancelled}; from any thread
};

class Control {
public:
    virtual ~Control() = default;
    [[nodiscard]] virtual Result<std::unique_ptr<Lease>> open_lease(Deadline::clock::duration time_to_live) = 0;
    // Durable when it returns (a directory: fsynced). A null lease: stays until removed.
    [[nodiscard]] virtual Result<Revision> put(const std::string& key, std::span<const std::byte> value, const Lease* lease) = 0;
    // Only where the key's revision is `expected` (0: only where it does not exist). Error{unavailable} when it is not.
    [[nodiscard]] virtual Result<Revision> compare_and_put(const std::string& key, Revision expected, std::span<const std::byte> value, const Lease* lease) = 0;
    // Sorted by key. A key matches when it is `prefix` or begins with `prefix` + '/'. Entries whose lease ended are not seen.
    [[nodiscard]] virtual Result<std::vector<ControlEntry>> read(const std::string& prefix) = 0;
    [[nodiscard]] virtual Status remove(const std::string& key) = 0;  // not_found is not an error
    [[nodiscard]] virtual Result<std::unique_ptr<Watch>> watch(const std::string& prefix) = 0;
    // "dir:/run/policy", "local:"
    [[nodiscard]] virtual std::string address() const = 0;
};

// "dir:PATH" or "local:NAME". Error{invalid_argument} lists what there is.
[[nodiscard]] Result<std::shared_ptr<Control>> open_control(const std::string& address);

}  // namespace wsync
