// Where received bytes go: packed bytes of a stream into the rows of mapped memory, straight where rows are large,
// through a small scratch where they are not.
#pragma once

#include "kernels/kernel_set.hpp"
#include "transport/tcp/strided.hpp"

#include <array>
#include <optional>
#include <span>
#include <sys/uio.h>

namespace wsync::tcp {

// The iovecs of one recvmsg, and the scratch that small rows share in it.
class Pieces {
public:
    static constexpr std::size_t kMax = 256;

    explicit Pieces(std::span<std::byte> scratch) : scratch_(scratch) {}
    void clear() noexcept { count_ = bytes_ = scratch_used_ = 0; }
    [[nodiscard]] bool full() const noexcept { return count_ == kMax; }
    void add(std::byte* at, std::size_t bytes) noexcept;
    // At most `bytes` of scratch; empty when there is none left.
    [[nodiscard]] std::span<std::byte> take_scratch(std::size_t bytes) noexcept;
    [[nodiscard]] iovec* data() noexcept { return pieces_.data(); }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

private:
    std::array<iovec, kMax> pieces_;
    std::size_t count_ = 0, bytes_ = 0, scratch_used_ = 0;
    std::span<std::byte> scratch_;
};

// One transfer's way into memory. A digest is of the packed rows: in one piece when they are at most kOneShotBytes
// (still in cache then, and the kernels' form is the fastest), else piece by piece as they come.
class Landing {
public:
    static constexpr std::uint64_t kOneShotBytes = 1 << 20;
    static constexpr std::uint64_t kSmallRowBytes = 4096;

    // `base` + every row of `rows` lies in writable memory that stays until the last landed().
    Landing(std::byte* base, const Strided& rows, const KernelSet* kernels_for_digest);

    [[nodiscard]] std::uint64_t total() const noexcept { return rows_.total(); }
    [[nodiscard]] bool whole() const noexcept { return at_ == rows_.total(); }
    [[nodiscard]] std::uint64_t left() const noexcept { return rows_.total() - at_; }
    // Adds places for the next bytes, at most `max_bytes`; takes the place of an earlier prepare.
    std::size_t prepare(Pieces& pieces, std::size_t max_bytes);
    [[nodiscard]] std::size_t prepared() const noexcept { return prepared_; }
    // The first `bytes` of what was prepared have been received; the rest is void.
    void landed(std::size_t bytes);
    // Precondition: whole(). Nothing unless a digest was asked for.
    [[nodiscard]] std::optional<Digest> digest();

private:
    void scatter(std::span<const std::byte> packed);

    std::byte* base_;
    Strided rows_;
    const KernelSet* kernels_;
    std::uint64_t at_ = 0;                 // packed position
    std::size_t prepared_ = 0;             // by the last prepare
    std::span<std::byte> scratch_{};       // of the last prepare
    std::optional<Hasher> hasher_;
};

}  // namespace wsync::tcp
