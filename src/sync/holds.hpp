// Slabs, their generations, and the holds on them: who may read what, and when the trainer may write again.
//
// Each slab is free, writing, published(number) or torn. Its generation (in a page that receivers map) is odd while it
// may be written and even while it may be read. A hold is the right to read one version; it is granted after the
// generation was compared, before the first byte is read, and counted here, in private memory. Copy holds may be revoked,
// since the reader rechecks the generation; other holds that are revoked leave their reader poisoned, and it is told so.
//
// A receiver that serves in place and holds every other slab is offered the newest version: granted before it asks, so
// that its switch needs no answer. Whatever the trainer writes next is held by it already, so that an offer that is never
// claimed keeps nothing back that was not kept back without it.
// Thread-safe.
#pragma once

#include "wsync/base/deadline.hpp"
#include "wsync/base/result.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

enum class HoldKind : std::uint8_t {
    copy,     // until the last byte has been copied
    install,  // mapped until the engine's loader has returned
    serve,    // mapped and served from, until the next version is active
};
[[nodiscard]] std::string_view name_of(HoldKind kind) noexcept;

struct Hold {
    std::uint64_t id = 0;
    std::uint64_t number = 0;      // of the version
    std::uint32_t slab = 0;
    std::uint64_t generation = 0;  // even
    HoldKind kind = HoldKind::copy;
};

class HoldTable {
public:
    // One generation for each slab, borrowed; they outlive the table. With one slab (live) the newest version's slab is
    // what the trainer writes; with more it never is, so that the newest version stays readable.
    // `on_revoked` is called (connection, hold) for each hold that begin_write takes away, outside the lock.
    using OnRevoked = std::function<void(std::uint64_t, const Hold&)>;
    explicit HoldTable(std::vector<std::atomic<std::uint64_t>*> generations, OnRevoked on_revoked = {});

    // Waits for a slab without holds and makes its generation odd. Error{timed_out} names the holders. With `revoke`,
    // holds that are left at the deadline are taken away instead.
    [[nodiscard]] Result<std::uint32_t> begin_write(Deadline deadline, bool revoke = false);
    // The slab's generation becomes even; it can be granted as `number`.
    void finish_write(std::uint32_t slab, std::uint64_t number);
    // Everybody can see `number` now: its slab is kept, the one before it may be written.
    void announce(std::uint64_t number);
    // The write was given up: torn until it is written anew.
    void abandon_write(std::uint32_t slab);

    // Error{unavailable} when the version's slab has been recycled; {unsupported} for a serve
    // hold on a table of one slab.
    [[nodiscard]] Result<Hold> grant(std::uint64_t number, HoldKind kind, std::uint64_t connection, std::string holder);
    // A serve hold on `number`, of whoever holds all other slabs by claimed serve holds; nothing for others.
    [[nodiscard]] std::optional<Hold> offer(std::uint64_t number, std::uint64_t connection);
    // What was offered is in use.
    void claim(std::uint64_t hold_id);
    void release(std::uint64_t hold_id);
    // Ends every hold of a connection: its peer is gone.
    void release_connection(std::uint64_t connection);
    // Error{corrupt} when it was revoked.
    [[nodiscard]] Result<Hold> find(std::uint64_t hold_id) const;
    // Whether the hold still stands and its slab has not been written since.
    [[nodiscard]] Status check(std::uint64_t hold_id) const;

    [[nodiscard]] std::uint64_t generation_of(std::uint32_t slab) const;
    [[nodiscard]] std::size_t holds() const;
    // The oldest version that somebody holds; nothing when nobody holds any.
    [[nodiscard]] std::optional<std::uint64_t> oldest_held() const;

private:
    enum class State : std::uint8_t { free, writing, published, torn };
    struct Slab {
        State state = State::free;
        std::uint64_t number = 0;
        std::atomic<std::uint64_t>* generation = nullptr;
    };
    struct Granted {
        Hold hold;
        std::uint64_t connection = 0;
        std::string holder;
        bool offered = false;      // and not claimed yet
    };
    [[nodiscard]] std::optional<std::uint32_t> readable(std::uint64_t number) const;
    Hold add(std::uint64_t number, std::uint32_t slab, HoldKind kind, std::uint64_t connection, std::string holder, bool offered);
    [[nodiscard]] bool held(std::uint32_t slab) const;
    [[nodiscard]] std::string holders(std::uint32_t slab) const;
    [[nodiscard]] std::vector<std::uint32_t> writable() const;

    OnRevoked on_revoked_;
    mutable std::mutex mutex_;
    std::condition_variable released_;
    std::vector<Slab> slabs_;
    std::map<std::uint64_t, Granted> granted_;
    std::uint64_t next_hold_ = 1, newest_ = 0;
};

}  // namespace wsync
