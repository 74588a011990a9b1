// Where a receiver's bytes come from: a live publisher, or a version's directory on disk.
//
// One source serves one epoch (or one directory). One thread uses it; hold guards may end on any.
#pragma once

#include "sync/executor.hpp"
#include "sync/holds.hpp"
#include "wsync/model/version.hpp"

#include <memory>

namespace wsync {

// What one version costs and says, as its publisher reported it.
struct SourceTimes {
    double prepare_seconds = 0, store_seconds = 0, blocked_seconds = 0;
};

// The right to read one version from all source ranks; ends when destroyed. `number` names the version.
class HoldGuard {
public:
    virtual ~HoldGuard() = default;
    // By source rank and region, with the granted generations.
    [[nodiscard]] virtual const Routes& routes() const = 0;
    [[nodiscard]] virtual SourceTimes times() const = 0;
    // What every block of the binding must digest to: the publisher's own list, or its answer for a finer cut.
    [[nodiscard]] virtual Result<std::vector<Digest>> expected(const Binding& binding, Deadline deadline) = 0;
    // After the last byte: Error{corrupt} when the source was written under the hold.
    [[nodiscard]] virtual Status confirm(Deadline deadline) = 0;
    // What was read under it is active: the hold is no mere offer any more.
    virtual void activated() = 0;
    // Whether the hold was taken away while it was being served from (in-place receivers ask; no waiting).
    [[nodiscard]] virtual bool revoked() = 0;
};

class Source {
public:
    virtual ~Source() = default;
    [[nodiscard]] virtual const Layout& layout() const = 0;
    [[nodiscard]] virtual std::span<const Placement> placements() const = 0;
    [[nodiscard]] virtual ShardForm form() const = 0;
    [[nodiscard]] virtual Result<std::shared_ptr<HoldGuard>> hold(const Version& version, HoldKind kind, std::span<const std::uint32_t> ranks, Deadline deadline) = 0;
    [[nodiscard]] virtual std::span<const std::unique_ptr<Transport>> transports() const = 0;
    // The newest version that was announced, without blocking. Error{peer_lost} when the source has gone.
    [[nodiscard]] virtual Result<std::optional<Version>> newest() = 0;
    // Descriptors to poll for news; -1 entries are skipped.
    [[nodiscard]] virtual std::vector<int> news() const = 0;
};

}  // namespace wsync
