// What one sync did and cost. Predicted and measured syncs use the same value.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

// In this order, for every method. All up to verify happens while the old weights serve.
enum class Stage : std::uint8_t { prepare, expose, signal, connect, move, decode, verify, pause, install, flush, activate, resume, release };
inline constexpr int kStageCount = 13;
[[nodiscard]] std::string_view name_of(Stage stage) noexcept;

// What "verified" means.
enum class Verification : std::uint8_t {
    none,             // only where the user asked for it
    identity,         // the receiver uses the publisher's own pages: boot id, inode, nonce, generation and seals agree
    content,          // digested as the bytes were read from the source's stream
    content_at_rest,  // the receiver's staged bytes were read back at their final place
};
[[nodiscard]] std::string_view name_of(Verification level) noexcept;

enum class Use : std::uint8_t { copy, map_then_install, serve_in_place };
[[nodiscard]] std::string_view name_of(Use use) noexcept;

// Seconds by stage: exclusive, on the slowest receiver's critical path; they add up to the total.
class StageSeconds {
public:
    double& operator[](Stage stage) noexcept { return seconds_[static_cast<std::size_t>(stage)]; }
    double operator[](Stage stage) const noexcept { return seconds_[static_cast<std::size_t>(stage)]; }
    [[nodiscard]] double total() const noexcept;
    // From the record seen to the version active: all but the trainer's own stages, and but letting go of the version before,
    // which comes after.
    [[nodiscard]] double hand_over() const noexcept;

private:
    std::array<double, kStageCount> seconds_{};
};

struct SyncReport {
    std::string name;                      // of the weights
    std::string version;                   // label: name@epoch.number+digest8
    std::uint64_t step = 0;
    std::string method;                    // "shm_map", "shm_copy", "tcp", "disk"
    std::string transport;                 // really used: "shm", "tcp", "file (io_uring, O_DIRECT)"
    Use use = Use::copy;
    bool first = false;                    // the first sync of this receiver and plan
    StageSeconds stages;
    std::uint64_t bytes_needed = 0;        // of this receiver's tensors
    std::uint64_t bytes_moved = 0;         // copied or sent; a handle's few bytes for a map
    std::uint64_t blocks_reused = 0;       // not moved, since their digests agree with what was there
    std::map<std::string, std::uint64_t> peak_extra_bytes;  // by role, from the ledger
    Verification verification = Verification::none;
    std::uint64_t blocks_verified = 0;
    double trainer_blocked_seconds = 0;    // begin_write's wait and publish
    double engine_stalled_seconds = 0;     // pause to resume
    std::vector<std::string> notes;        // e.g. "epoch 3 follows epoch 2 with a lower step"
    std::map<std::string, std::string> configuration;  // as it was in effect

    [[nodiscard]] double seconds() const noexcept { return stages.total(); }
    // A flat dict for dashboards: "wsync/seconds", "wsync/stage/move", ...
    [[nodiscard]] std::map<std::string, double> metrics() const;
};

}  // namespace wsync
