#include "control/directory/records.hpp"

#include "control/keys.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

constexpr RecordKind kValue{"WSCV", 1, 0};
constexpr RecordKind kLease{"WSCL", 1, 0};
constexpr RecordKind kLock{"WSCS", 1, 0};
constexpr std::size_t kDigestBytes = 16;
constexpr std::size_t kCounterBytes = 16;

Bytes sealed(ByteWriter& out) {
    const auto digest = digest_of(out.view());
    out.digest(digest);
    return out.take();
}

// All but the digest, once it agrees. The kind is looked at first: a foreign or newer file is named as such.
Result<std::span<const std::byte>> unsealed(std::span<const std::byte> bytes, RecordKind kind, std::string_view path) {
    ByteReader in(bytes, path);
    WSYNC_TRY([[maybe_unused]] auto minor, in.begin_record(kind));
    if (in.remaining() < kDigestBytes) return Error{Code::corrupt, fmt::format("{} is truncated at {} bytes: remove it", path, bytes.size()), {}};
    const auto body = bytes.first(bytes.size() - kDigestBytes);
    ByteReader tail(bytes.last(kDigestBytes), path);
    WSYNC_TRY(auto digest, tail.digest());
    if (digest != digest_of(body)) {
        return Error{Code::corrupt, fmt::format("{} does not agree with its digest (torn, or changed by hand): remove it", path), {}};
    }
    return body;
}

Bytes lease_head(const LeaseRecord& record) {
    ByteWriter out;
    out.begin_record(kLease).text(record.id).u64(record.time_to_live_ns);
    write(out, record.owner);
    return sealed(out);
}

}  // namespace

Bytes encode(const ValueRecord& record) {
    ByteWriter out;
    out.begin_record(kValue).u64(record.revision).text(record.key).text(record.lease).blob(record.value);
    return sealed(out);
}

Result<ValueRecord> decode_value(std::span<const std::byte> bytes, std::string_view path) {
    WSYNC_TRY(auto body, unsealed(bytes, kValue, path));
    ByteReader in(body, path);
    WSYNC_TRY(auto minor, in.begin_record(kValue));
    ValueRecord record;
    WSYNC_TRY(record.revision, in.u64());
    WSYNC_TRY(record.key, in.text(512));
    WSYNC_TRY(record.lease, in.text(64));
    WSYNC_TRY(auto value, in.blob(kMaxControlValueBytes));
    record.value.assign(value.begin(), value.end());
    if (minor == kValue.minor) WSYNC_TRY_VOID(in.finish());
    // The lease's name becomes a file's name.
    if (record.revision == 0 || !check_key(record.key) || (!record.lease.empty() && !is_key_segment(record.lease))) {
        return Error{Code::corrupt, fmt::format("{} holds no possible value record: remove it", path), {}};
    }
    return record;
}

Bytes encode_lease_counter(std::uint64_t counter) {
    ByteWriter out;
    out.u64(counter).u64(~counter);
    return out.take();
}

std::size_t lease_counter_offset(const LeaseRecord& record) { return lease_head(record).size(); }

Bytes encode(const LeaseRecord& record) {
    ByteWriter out;
    out.raw(lease_head(record)).raw(encode_lease_counter(record.counter));
    return out.take();
}

Result<std::optional<LeaseRecord>> decode_lease(std::span<const std::byte> bytes, std::string_view path) {
    if (bytes.size() < kCounterBytes) return Error{Code::corrupt, fmt::format("{} is truncated at {} bytes: remove it", path, bytes.size()), {}};
    WSYNC_TRY(auto body, unsealed(bytes.first(bytes.size() - kCounterBytes), kLease, path));
    ByteReader in(body, path);
    WSYNC_TRY(auto minor, in.begin_record(kLease));
    LeaseRecord record;
    WSYNC_TRY(record.id, in.text(64));
    WSYNC_TRY(record.time_to_live_ns, in.u64());
    WSYNC_TRY(record.owner, read_process_identity(in));
    if (minor == kLease.minor) WSYNC_TRY_VOID(in.finish());
    ByteReader tail(bytes.last(kCounterBytes), path);
    WSYNC_TRY(record.counter, tail.u64());
    WSYNC_TRY(auto complement, tail.u64());
    if (complement != ~record.counter) return std::optional<LeaseRecord>();
    return std::optional<LeaseRecord>(std::move(record));
}

Bytes encode(const LockRecord& record) {
    ByteWriter out;
    out.begin_record(kLock).u64(record.highest_removed);
    return sealed(out);
}

Result<LockRecord> decode_lock(std::span<const std::byte> bytes, std::string_view path) {
    if (bytes.empty()) return LockRecord{};  // new
    WSYNC_TRY(auto body, unsealed(bytes, kLock, path));
    ByteReader in(body, path);
    WSYNC_TRY(auto minor, in.begin_record(kLock));
    LockRecord record;
    WSYNC_TRY(record.highest_removed, in.u64());
    if (minor == kLock.minor) WSYNC_TRY_VOID(in.finish());
    return record;
}

}  // namespace wsync
