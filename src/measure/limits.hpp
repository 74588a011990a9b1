// What this machine can do at most: the figures that every measured method is divided by.
//
//   M, M2   copy out of a shared mapping into private memory, one thread and two: every kernel set
//   D2      the same with XXH3-128 in the pass, two threads (what a verified copy can reach at best)
//   T       a raw socket over loopback: send or sendfile, one stream or two, congestion control as it comes and reno
//   W, W2   direct writes and fdatasync: of a new file (fallocate in the time), and over an old one
//   R       direct reads of a file that is not cached
//   P       reads of a cached file, two threads
//
// Each is the best of its variants here: the variants take turns, every round runs each once, and the best median counts.
// Buffers are touched before and used again, so that no figure contains the kernel's making of new pages. Where the file
// system or the kernel refuses O_DIRECT or io_uring, threads and the page cache do it, and the variant says so.
#pragma once

#include "kernels/kernel_set.hpp"
#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace wsync {

enum class LimitKind : std::uint8_t { copy_1, copy_2, copy_digest_2, socket, write_fresh, write_recycled, read_cold, read_warm };
[[nodiscard]] std::string_view name_of(LimitKind kind) noexcept;  // "M", "M2", "D2", "T", "W", "W2", "R", "P"
// Nothing for a name that is none of these.
[[nodiscard]] std::optional<LimitKind> limit_kind_of(std::string_view name) noexcept;

struct Limit {
    std::string name;              // name_of the kind
    double bytes_per_second = 0;   // median of `rounds`
    std::string variant;           // the one that was best: of M, M2 and D2 a kernel set's name
    std::vector<double> rounds;    // of that variant
};

struct LimitOptions {
    std::uint64_t bytes = 1ULL << 30;  // moved by each run; a multiple of 4096
    int rounds = 7;
    std::string directory = ".";       // for the disk; its files have no name there and vanish with their descriptor
    std::vector<LimitKind> which = {LimitKind::copy_1,      LimitKind::copy_2,         LimitKind::copy_digest_2, LimitKind::socket,
                                    LimitKind::write_fresh, LimitKind::write_recycled, LimitKind::read_cold,     LimitKind::read_warm};
    std::function<void(std::string_view)> progress{};  // a line after each round; may be empty
};

// The memory that probes share, so that any number of them costs 2 x bytes: a slab as a receiver maps it and a private
// buffer, both touched. Used by one probe at a time.
struct LimitBuffers {
    std::shared_ptr<SharedSlab> slab;
    std::shared_ptr<MappedSlab> mapped;
    std::shared_ptr<HostBuffer> buffer;

    // Error{resource_exhausted} when the memory is not there.
    [[nodiscard]] static Result<std::shared_ptr<LimitBuffers>> make(std::uint64_t bytes);
};

// One limit, round by round, so that its rounds can be interleaved with those of a method. Not thread-safe. Threads that
// it needs end before run_once returns; descriptors and files end with the probe.
class LimitProbe {
public:
    struct Variant {
        std::string name;
        std::function<Result<double>()> run;  // bytes per second
        std::vector<double> rounds{};
    };

    // `buffers` as made for options.bytes; null: the probe makes its own.
    [[nodiscard]] static Result<LimitProbe> make(LimitKind kind, const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers = nullptr);

    // Runs every variant once (each round begins with another one) and returns this round's figure of the best so far.
    [[nodiscard]] Result<double> run_once();
    // From now on only the best variant so far is run. Nothing before the first round.
    void keep_best();
    // The best variant's median. Error{invalid_argument} before the first round.
    [[nodiscard]] Result<Limit> limit() const;
    [[nodiscard]] const std::vector<Variant>& variants() const { return variants_; }

private:
    LimitProbe(LimitKind kind, std::vector<Variant> variants) : kind_(kind), variants_(std::move(variants)) {}
    [[nodiscard]] std::size_t best() const;
    LimitKind kind_;
    std::vector<Variant> variants_;
    std::size_t turn_ = 0;
};

// All of options.which, in that order; the rounds of different limits take turns.
[[nodiscard]] Result<std::vector<Limit>> measure_limits(const LimitOptions& options);

// The kernel set that is faster than default_kernels() by a tenth at least in the median of the rounds, and the fastest of
// those; else default_kernels(): a machine that others use too makes any set win a round. `variants` of M, M2 or D2.
[[nodiscard]] const KernelSet& best_kernels(std::span<const LimitProbe::Variant> variants);
// The same by a probe of D2 over `bytes` now, its memory given back. Takes about a second.
[[nodiscard]] Result<const KernelSet*> choose_kernels(std::uint64_t bytes = 256 << 20);

[[nodiscard]] double median_of(std::vector<double> values);

}  // namespace wsync
