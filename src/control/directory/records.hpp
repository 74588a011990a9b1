// The bytes of a directory control's files.
//
// Each ends with the digest of all before it: a torn or foreign file is Error{corrupt} that names its path. Golden bytes
// lie under tests/golden/control.
#pragma once

#include "base/process.hpp"
#include "control/control.hpp"

namespace wsync {

// "WSCV": one value. The key is in it, so that a file copied to another name is seen.
struct ValueRecord {
    std::string key;
    Revision revision = 0;
    std::string lease;  // empty: stays until removed
    Bytes value;
};
inline constexpr std::size_t kMaxValueFileBytes = kMaxControlValueBytes + 4096;

// "WSCL": who owns a lease. Behind it, at lease_counter_offset, is the counter that the owner writes in place: eight
// bytes and their complement, so that a reader sees a torn one.
struct LeaseRecord {
    std::string id;
    ProcessIdentity owner;
    std::uint64_t time_to_live_ns = 0;
    std::uint64_t counter = 0;
};
inline constexpr std::size_t kMaxLeaseFileBytes = 4096;

// "WSCS": the highest revision of any key that was removed from one lock's share of the keys.
struct LockRecord {
    Revision highest_removed = 0;
};
inline constexpr std::size_t kMaxLockFileBytes = 4096;

[[nodiscard]] Bytes encode(const ValueRecord& record);
[[nodiscard]] Bytes encode(const LeaseRecord& record);
[[nodiscard]] Bytes encode(const LockRecord& record);
// `path` names the file in errors.
[[nodiscard]] Result<ValueRecord> decode_value(std::span<const std::byte> bytes, std::string_view path);
// Nothing when the counter is being written at this moment: read again.
[[nodiscard]] Result<std::optional<LeaseRecord>> decode_lease(std::span<const std::byte> bytes, std::string_view path);
[[nodiscard]] Result<LockRecord> decode_lock(std::span<const std::byte> bytes, std::string_view path);

[[nodiscard]] Bytes encode_lease_counter(std::uint64_t counter);
[[nodiscard]] std::size_t lease_counter_offset(const LeaseRecord& record);

}  // namespace wsync
