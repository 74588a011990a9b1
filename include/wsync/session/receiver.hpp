// The inference engine's side: stage beside what serves, install, activate.
#pragma once

#include "wsync/base/deadline.hpp"
#include "wsync/base/result.hpp"
#include "wsync/model/layout.hpp"
#include "wsync/model/placement.hpp"
#include "wsync/report/sync_report.hpp"
#include "wsync/model/version.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

class ReceiverCore;
struct ServedVersion;

struct SinkOptions {
    std::optional<Layout> wanted;          // what this receiver keeps (Coverage::partial will do); nothing: every tensor whole
    std::uint32_t rank = 0;                // whose shards of `wanted`
    std::vector<std::span<std::byte>> slots;  // memory to receive into, borrowed; the rest is allocated
    // Called once the publisher's layout is known, instead of `slots`: memory of at least `place.bytes()`. What it holds
    // already is digested, and only blocks that differ from the new version are moved: an older version, or a part of one.
    std::function<Result<std::span<std::byte>>(const Layout& wanted, const Placement& place)> make_slot;
};

struct ReceiverBudget {
    unsigned threads = 1;
    std::uint64_t bucket_bytes = 0;        // what a thread takes at once; 0: 16 MiB, from disk 64 MiB
    std::uint64_t in_flight_bytes = 0;     // over all threads; 0: 64 MiB, from disk 192 MiB
    double bytes_per_second = 0;           // 0: no limit
};

// Receivers in processes of their own that activate a version together: all of them, or none. They meet in the control plane.
struct ReceiverGroup {
    std::string name;                      // the same on all members: A-Z a-z 0-9 . _ + -
    std::uint32_t rank = 0;                // of this receiver in the group
    std::uint32_t size = 1;                // members; the same on all
    std::chrono::steady_clock::duration lease_time = std::chrono::seconds(5);  // a stopped member, or one on a host that died, is given up after so long
};

struct ReceiverOptions {
    std::string name;                      // of the weights
    std::string id = "receiver";           // shows in the publisher's messages, and in those of the group's other members
    std::optional<ReceiverGroup> group;    // copying receivers need 2 slabs: the old version is what a group goes back to
    SinkOptions sink;
    Use use = Use::copy;                   // copy | map_then_install | serve_in_place
    unsigned slabs = 2;                    // of a copying receiver: 1 in place, 2, 3 with rollback during a stage
    bool rollback = false;                 // serve_in_place: keep the hold on the version before (the trainer needs 3 slabs)
    std::vector<std::string> transports;   // by preference, only these: shm, tcp; or disk alone. Empty: shm on one host, else tcp
    Verification verification = Verification::content;  // none: every report says so
    bool reuse_blocks = true;              // blocks that are here already are not moved
    bool huge_pages = true;
    ReceiverBudget budget;
    std::function<void(std::uint64_t moved_bytes, std::uint64_t total_bytes)> progress;  // called from the budget's threads
};

// One wanted box of a tensor. The bytes live as long as the StagedVersion or VersionPin they came from.
struct Tensor {
    std::string_view name;
    DType dtype = DType::f32;
    Dims shape;                            // of the whole tensor
    Box box;                               // of it, that is here
    std::span<const std::byte> bytes;      // packed row-major
};

// The tensors of a version, made as they are asked for. Empty ones have no bytes and are not listed.
class TensorRange {
public:
    class iterator {
    public:
        iterator(const TensorRange* range, std::size_t i) : range_(range), i_(i) {}
        Tensor operator*() const { return (*range_)[i_]; }
        iterator& operator++() { return ++i_, *this; }
        bool operator!=(const iterator& other) const { return i_ != other.i_; }

    private:
        const TensorRange* range_;
        std::size_t i_;
    };
    explicit TensorRange(const ServedVersion* version) : version_(version) {}
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] Tensor operator[](std::size_t i) const;
    [[nodiscard]] iterator begin() const { return {this, 0}; }
    [[nodiscard]] iterator end() const { return {this, size()}; }
    // By name (its first box). Error{not_found}.
    [[nodiscard]] Result<Tensor> find(std::string_view name) const;

private:
    const ServedVersion* version_;
};

class VersionPin;

// Moved and verified, not active. Owns the hold; dropping it changes nothing. Movable, not copyable.
class StagedVersion {
public:
    StagedVersion(StagedVersion&&) noexcept = default;
    StagedVersion& operator=(StagedVersion&&) noexcept = default;
    StagedVersion(const StagedVersion&) = delete;
    StagedVersion& operator=(const StagedVersion&) = delete;

    [[nodiscard]] const Version& version() const;
    [[nodiscard]] TensorRange tensors() const;
    [[nodiscard]] const SyncReport& report() const;  // up to verify
    // Keeps the bytes, and with them the hold, while this version is activated, dropped or replaced.
    [[nodiscard]] VersionPin pin() const;

private:
    friend class Receiver;
    explicit StagedVersion(std::shared_ptr<ServedVersion> version) : version_(std::move(version)) {}
    std::shared_ptr<ServedVersion> version_;
};

// Keeps the version that was active when it was taken (or was staged) from being recycled. Copyable; any thread.
class VersionPin {
public:
    explicit operator bool() const { return version_ != nullptr; }  // false: nothing was active
    [[nodiscard]] const Version& version() const;
    [[nodiscard]] TensorRange tensors() const;

private:
    friend class Receiver;
    friend class StagedVersion;
    explicit VersionPin(std::shared_ptr<const ServedVersion> version) : version_(std::move(version)) {}
    std::shared_ptr<const ServedVersion> version_;
};

struct StageOptions {
    Deadline deadline = std::chrono::seconds(30);
    std::optional<Version> after{};        // a version that is not to be staged, as newest() told it: the next one is waited for
};

// Movable. One thread, but pin(), active_number() and interrupt(), which any may call.
class Receiver {
public:
    Receiver(Receiver&&) noexcept;
    Receiver& operator=(Receiver&&) noexcept;
    ~Receiver();

    // Waits for a version newer than the active one, moves and verifies it. Error{timed_out} when none came; with
    // Error{corrupt} the bytes were wrong; in every case the active version is as it was.
    // In a group it answers when all members have staged the same version: activate it then, at once. A member that fails, dies
    // or runs out of time ends it for all: each gets an Error that names it and says why (unavailable, peer_lost, timed_out),
    // and each may try again. A member that was killed after the others had activated a version gets that one alone.
    [[nodiscard]] Result<StagedVersion> stage(const StageOptions& options = {});
    [[nodiscard]] Result<SyncReport> activate(StagedVersion&& staged);
    [[nodiscard]] Result<SyncReport> sync(const StageOptions& options = {});
    // Back to the version before the active one, while it is held.
    [[nodiscard]] Result<Version> rollback();
    // The newest version that can be seen now; nothing is moved.
    [[nodiscard]] Result<std::optional<Version>> newest();
    // Error{corrupt} when what is served may be mixed bytes ("poisoned").
    [[nodiscard]] Status health();
    [[nodiscard]] VersionPin pin() const;
    // {epoch, number} of the active version, {0, 0} for none.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> active_number() const noexcept;
    // The stage under way, or else the next one, answers Error{cancelled} promptly. Also from a signal handler.
    void interrupt() noexcept;

private:
    friend class Session;
    struct Impl;
    explicit Receiver(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// Activates all or none: call it when each has been staged. Receivers of one process; of several: ReceiverOptions::group.
[[nodiscard]] Status activate_all(std::span<Receiver* const> receivers, std::vector<StagedVersion>&& staged);

}  // namespace wsync
