// One receiver: stages versions beside the one that serves, proves them, and activates them at once.
//
// stage, activate, rollback and health belong to one thread; active and pin to any. Until activation the old version serves,
// and a failure at any stage leaves it active and intact; where memory forbids a second copy (one slab) a failure marks
// the receiver poisoned until a full sync succeeds.
#pragma once

#include "control/control.hpp"
#include "sync/group.hpp"
#include "sync/publisher_source.hpp"
#include "sync/slots.hpp"
#include "sync/source.hpp"
#include "wsync/report/sync_report.hpp"

namespace wsync {

struct ReceiverCoreOptions {
    std::string name;                        // of the weights
    std::string id = "receiver";             // in the publisher's messages
    std::optional<GroupMemberOptions> group; // its `name` and `id` are this receiver's
    std::optional<Layout> wanted;            // what this receiver keeps; nothing: every tensor whole
    std::uint32_t rank = 0;                  // whose shards of `wanted`
    Use use = Use::copy;
    unsigned slabs = 2;                      // of a copying receiver: 1 in place, 2, 3 with rollback during a stage
    bool rollback = false;                   // in place: keeps the hold on the version before
    std::vector<std::span<std::byte>> slots; // memory to receive into, borrowed; the rest is allocated
    std::function<Result<std::span<std::byte>>(const Layout&, const Placement&)> make_slot;  // instead of slots; what it holds is used
    std::vector<std::string> transports = {"shm", "tcp"};  // by preference, only these; first "disk": from version directories
    Verification verification = Verification::content;     // none: not verified, and every report says so
    bool reuse_blocks = true;                // blocks whose digests agree with what the slab holds aren't moved
    bool huge_pages = true;
    std::string socket_directory;            // where a publisher of this host has its sockets; tidied up when it is dead
    ExecutorOptions executor;
    std::function<void(std::uint64_t moved, std::uint64_t total)> progress;  // from the executor's threads
};

// One wanted box of a tensor, where it lies. The bytes live as long as the version they belong to.
struct TensorView {
    std::string_view name;
    DType dtype = DType::f32;
    Dims tensor_shape;
    Box box;
    std::span<const std::byte> bytes;        // packed row-major
};

// Where each wanted box lies, relative to one of a version's bases: the same for every version of a plan.
struct ViewPlace {
    std::uint32_t base = 0;
    std::uint64_t offset = 0, bytes = 0;
};

// A version in memory: staged, active or pinned. Immutable once staged. Making one costs the same for any number of
// tensors: the views are made when they are asked for.
struct ServedVersion {
    Version version;
    std::shared_ptr<const Layout> layout;    // owns the names
    std::uint32_t rank = 0;                  // whose shards of it
    std::shared_ptr<const std::vector<ViewPlace>> places;  // of each shard
    std::vector<const std::byte*> bases;
    std::shared_ptr<Slot> slot;              // of a copy
    std::vector<Region> mapped;              // of a map
    std::shared_ptr<HoldGuard> hold;         // of a map
    SyncReport report;

    [[nodiscard]] std::size_t size() const { return bases.empty() ? 0 : places->size(); }
    // Precondition: i < size(). Ordered as the layout's shards.
    [[nodiscard]] TensorView tensor(std::size_t i) const;
};

class ReceiverCore {
public:
    // `control`, `kernels` and `ledger` are borrowed and outlive it. Does not wait for a publisher.
    [[nodiscard]] static Result<std::unique_ptr<ReceiverCore>> open(ReceiverCoreOptions options, Control& control, TransportFactory transports,
                                                                    const KernelSet& kernels, MemoryLedger* ledger);
    ~ReceiverCore();

    // Waits for a version newer than the active one, and another than `after`, moves and verifies it. The old one serves meanwhile.
    [[nodiscard]] Result<std::shared_ptr<ServedVersion>> stage(Deadline deadline, const std::optional<Version>& after = {});
    // The staged version serves from now on.
    [[nodiscard]] Result<SyncReport> activate(std::shared_ptr<ServedVersion> staged);
    [[nodiscard]] Result<Version> rollback();
    // The newest version that can be seen now, without moving anything; nothing when there is none.
    [[nodiscard]] Result<std::optional<Version>> newest();
    // Error{corrupt} when what is served may be mixed: poisoned by a failed sync in place, or by a revoked hold.
    [[nodiscard]] Status health();
    // The stage under way, or else the next one, answers Error{cancelled}. From any thread, also a signal's.
    void interrupt() noexcept;

    [[nodiscard]] std::shared_ptr<const ServedVersion> pin() const;
    // epoch and number of the active version in one atomic read (0, 0: none).
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> active_number() const noexcept;

private:
    struct Planned {
        Digest source{};                     // layout digest
        std::vector<Placement> source_places;
        std::shared_ptr<const Layout> sink;
        Placement place;
        Plan plan;
        Binding binding;
        Digest digest{};                     // of the plan: what slots' digests refer to
        std::vector<std::uint32_t> all_blocks;
        std::shared_ptr<const std::vector<ViewPlace>> views;
        bool proved_at_rest = false;         // the first sync of every plan reads the staged bytes back
    };
    ReceiverCore(ReceiverCoreOptions options, Control& control, TransportFactory transports, const KernelSet& kernels, MemoryLedger* ledger);
    [[nodiscard]] Result<std::shared_ptr<ServedVersion>> stage_newer(Deadline deadline);
    [[nodiscard]] Result<Version> await_newer(Deadline deadline);
    [[nodiscard]] Result<std::optional<Version>> look(Deadline deadline);
    [[nodiscard]] Status connect(const Version& version, Deadline deadline);
    [[nodiscard]] Status wait_for_news(Deadline deadline);
    [[nodiscard]] Status make_plan_for_source();
    [[nodiscard]] std::unique_ptr<Executor> make_executor() const;
    [[nodiscard]] Result<std::vector<ViewPlace>> find_views(const Planned& planned) const;
    [[nodiscard]] Status health_of_active();
    [[nodiscard]] bool is_news(const Version& version) const;
    [[nodiscard]] Result<std::shared_ptr<ServedVersion>> stage_version(const Version& version, Deadline deadline);
    // The version that the group tries, or `newest`. `again`: it was recycled, and a newer one is there.
    [[nodiscard]] Result<std::shared_ptr<ServedVersion>> stage_with_group(const Version& newest, Deadline deadline, bool& again);
    [[nodiscard]] Result<std::shared_ptr<ServedVersion>> stage_of_group(const Version& version, const Version& newest, Deadline deadline);
    [[nodiscard]] Status stage_copy(ServedVersion& staged, Deadline deadline);
    [[nodiscard]] Status stage_map(ServedVersion& staged, Deadline deadline);
    [[nodiscard]] Status verify_blocks(Slot& slot, std::span<const std::uint32_t> moved, std::span<const Digest> found, std::span<const Digest> expected);
    void digest_slot(Slot& slot, Deadline deadline) const;
    [[nodiscard]] Status verify_at_rest(const Slot& slot, std::span<const Digest> expected, Deadline deadline);
    [[nodiscard]] Result<std::shared_ptr<Slot>> take_slot(Deadline deadline);
    void disconnect();
    // A publisher that was killed leaves its sockets' names.
    void tidy_after(const Error& error) const;

    ReceiverCoreOptions options_;
    Control& control_;
    TransportFactory transports_;
    const KernelSet& kernels_;
    MemoryLedger* ledger_;
    UniqueFd wake_;                          // readable after interrupt()
    std::atomic<bool> interrupted_{false};
    std::unique_ptr<Watch> watch_;
    std::optional<Version> after_;           // of the stage under way
    std::unique_ptr<GroupMember> group_;     // null: in none

    std::unique_ptr<Source> source_;
    std::uint64_t source_epoch_ = 0;
    bool from_disk_ = false;                 // a source of one version: the next one is opened anew
    std::unique_ptr<Executor> executor_;     // after source_: it borrows the source's transports
    Planned planned_;
    std::unique_ptr<SlotPool> slots_;
    std::shared_ptr<ServedVersion> previous_;
    bool poisoned_ = false;
    bool synced_ = false;

    mutable std::mutex mutex_;               // guards active_
    std::shared_ptr<ServedVersion> active_;
    std::atomic<std::uint64_t> active_epoch_{0}, active_number_{0};
};

}  // namespace wsync
