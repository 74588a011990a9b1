// The files of a control folder: value, lease and lock records, as they are and with their digest made good.
#include "control/directory/records.hpp"

#include <cstdlib>

namespace {

using namespace wsync;

void require(bool holds) {
    if (!holds) std::abort();
}

void try_all(std::span<const std::byte> bytes) {
    if (const auto value = decode_value(bytes, "value")) {
        const auto again = decode_value(encode(*value), "value");
        require(again && again->key == value->key && again->revision == value->revision && again->value == value->value);
    }
    if (const auto lease = decode_lease(bytes, "lease"); lease && *lease) {
        const auto again = decode_lease(encode(**lease), "lease");
        require(again && *again && (*again)->id == (*lease)->id && (*again)->counter == (*lease)->counter);
    }
    if (const auto lock = decode_lock(bytes, "lock")) {
        const auto again = decode_lock(encode(*lock), "lock");
        require(again && again->highest_removed == lock->highest_removed);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    try_all(bytes);
    // Sealed: what lies behind the digest is reached too. A lease has sixteen bytes after its seal.
    ByteWriter sealed;
    sealed.raw(bytes);
    sealed.digest(digest_of(bytes));
    try_all(sealed.view());
    sealed.raw(encode_lease_counter(size));
    try_all(sealed.view());
    return 0;
}
