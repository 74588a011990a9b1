// One rank's publisher: its slabs, their exposures, its links, and the records that make a version visible.
//
// One thread calls begin_write, publish and abandon; links are served by threads of its own. Destroying it ends the
// lease, closes the exposures (waiting a moment for reads under way) and leaves nothing behind.
#pragma once

#include "control/control.hpp"
#include "kernels/kernel_set.hpp"
#include "memory/ledger.hpp"
#include "memory/slab.hpp"
#include "sync/epoch.hpp"
#include "sync/holds.hpp"
#include "sync/link.hpp"
#include "verify/block_digests.hpp"
#include "wsync/model/placement.hpp"

#include <functional>
#include <optional>

namespace wsync {

// Makes the transports of one epoch: they share its secret.
using TransportFactory = std::function<Result<std::vector<std::unique_ptr<Transport>>>(const Secret&)>;

struct PublicationOptions {
    std::string name;
    std::string run;                         // the same on all ranks; made up when empty and world is 1
    std::uint32_t rank = 0, world = 1;
    Layout layout;                           // of all ranks; Coverage::full
    unsigned slabs = 2;                      // 1: live, the trainer works in the slab itself
    bool huge_pages = true;
    unsigned threads = 1;                    // for snapshots and digests
    std::string socket_directory;            // for the link's Unix socket; created 0700
    std::string tcp_host;                    // the link's and tcp's host; empty: this host only
    Deadline::clock::duration lease_time = std::chrono::seconds(5);
    Deadline open_deadline = std::chrono::seconds(15);
};

// Where a version's bytes go besides the slab: a version's directory on disk. Nulls: nowhere.
struct VersionSink {
    // Writes this rank's bytes. Returns the directory that the version has once it is whole. With several ranks the version's
    // digest is not known yet.
    std::function<Result<std::string>(const Version&, const Placement&, const Region&, const BlockDigests&)> write;
    // With several ranks, once each has written: makes the version whole. `lists` are the digests of the ranks' block
    // digests. Called before the head moves, maybe on several ranks at once; the last one given is called by begin_write
    // too, where the rank that should have has died.
    std::function<Status(const Version&, std::span<const Digest> lists, Deadline)> commit;
};

class Publication final : private LinkService {
public:
    // `control`, `kernels` and `ledger` are borrowed and outlive it.
    [[nodiscard]] static Result<std::unique_ptr<Publication>> open(PublicationOptions options, Control& control, const TransportFactory& transports,
                                                                   const KernelSet& kernels, MemoryLedger* ledger);
    ~Publication() override;

    // The slab to write, its generation odd. Error{timed_out} names who holds it, or which ranks are behind.
    [[nodiscard]] Result<std::uint32_t> begin_write(Deadline deadline, bool revoke);
    // Copies one shard (index within the rank) from packed row-major bytes and digests its blocks in the same pass. Bytes of type
    // `from`, where it is another than the shard's, are cast on the way: F32 to BF16, else Error{unsupported}.
    [[nodiscard]] Status copy_shard(std::uint32_t slab, std::size_t shard, std::span<const std::byte> packed, std::optional<DType> from = {});
    // Time that the snapshot pass took, which is part of `prepare`.
    void add_prepare(double seconds);
    [[nodiscard]] std::span<std::byte> shard_bytes(std::uint32_t slab, std::size_t shard) const;
    // Digests what copy_shard did not, puts this rank's record, and moves the head when it is the last one.
    [[nodiscard]] Result<Version> publish(std::uint32_t slab, std::uint64_t step, const VersionSink& sink);
    void abandon(std::uint32_t slab);

    [[nodiscard]] const PublicationOptions& options() const noexcept { return options_; }
    [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_.epoch; }
    // A word that only this publication's ranks have, and that tells nothing of its secret.
    [[nodiscard]] std::string group() const;
    [[nodiscard]] std::size_t holds() const { return holds_->holds(); }
    [[nodiscard]] const Placement& placement() const noexcept { return placement_; }

private:
    struct BlockPlace {
        std::uint32_t shard = 0;
        std::uint64_t offset = 0, bytes = 0;  // in the slab
    };
    Publication(PublicationOptions options, Control& control, const KernelSet& kernels) : options_(std::move(options)), control_(control), kernels_(kernels) {}
    [[nodiscard]] Status start(const TransportFactory& transports, MemoryLedger* ledger);
    [[nodiscard]] Status await_head(Deadline deadline);
    [[nodiscard]] Result<std::optional<Version>> try_move_head(const PublicationRecord& own, Deadline deadline);
    [[nodiscard]] Status digest_rest(std::uint32_t slab);

    [[nodiscard]] Result<std::shared_ptr<const Bytes>> blob(const Digest& digest) override;
    [[nodiscard]] Result<GrantedHold> grant(std::uint64_t connection, std::uint64_t number, HoldKind kind, const std::string& holder) override;
    [[nodiscard]] std::optional<GrantedHold> offer(std::uint64_t connection, std::uint64_t number) override;
    void claim(std::uint64_t hold_id) override { holds_->claim(hold_id); }
    void release(std::uint64_t hold_id) override { holds_->release(hold_id); }
    [[nodiscard]] Status check(std::uint64_t hold_id) override { return holds_->check(hold_id); }
    [[nodiscard]] Result<std::vector<Digest>> digests(std::uint64_t hold_id, std::span<const BoxRequest> boxes) override;
    void connection_ended(std::uint64_t connection) override { holds_->release_connection(connection); }
    [[nodiscard]] std::optional<HeadRecord> head() override;

    PublicationOptions options_;
    Control& control_;
    const KernelSet& kernels_;
    EpochRecord epoch_;
    Placement placement_;
    std::vector<BlockPlace> blocks_;
    std::vector<std::uint64_t> first_block_;  // of each shard; shards + 1
    std::vector<std::shared_ptr<SharedSlab>> slabs_;
    std::vector<Region> regions_;
    std::unique_ptr<HoldTable> holds_;
    std::vector<std::unique_ptr<Transport>> transports_;
    std::vector<std::unique_ptr<Exposure>> exposures_;
    std::unique_ptr<Lease> lease_;
    std::uint64_t number_ = 0;                // last published by this rank
    PublicationRecord last_;                  // its record
    decltype(VersionSink::commit) commit_;    // its sink's
    double blocked_seconds_ = 0;              // of the write under way
    std::atomic<std::uint64_t> prepare_nanoseconds_{0};
    BlockDigests writing_;                    // of the write under way
    std::vector<char> copied_;                // shards of it that copy_shard has digested

    std::mutex mutex_;                        // what the links' threads read
    std::map<Digest, std::shared_ptr<const Bytes>> blobs_;
    std::map<std::uint64_t, PublicationRecord> published_;
    std::map<std::uint64_t, std::map<Digest, std::vector<Digest>>> cut_cache_;  // by version, by request
    std::optional<HeadRecord> head_;
    std::unique_ptr<LinkServer> links_;       // last: its threads use all of the above
};

}  // namespace wsync
