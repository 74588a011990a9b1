// The shape of a tensor, or a position in it: up to kMaxRank extents, outermost first. A plain value without a heap.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace wsync {

// Tensors of weights have up to 5 dimensions; more than this is Error{unsupported} where they come in.
inline constexpr std::size_t kMaxRank = 8;

class Dims {
public:
    Dims() = default;
    // Precondition of the constructors: at most kMaxRank extents.
    Dims(std::initializer_list<std::uint64_t> extents) { assign({extents.begin(), extents.size()}); }
    explicit Dims(std::span<const std::uint64_t> extents) { assign(extents); }
    // `rank` extents of the same value.
    Dims(std::size_t rank, std::uint64_t value) : rank_(static_cast<std::uint8_t>(rank)) {
        std::fill_n(values_.begin(), rank, value);
    }

    [[nodiscard]] std::size_t size() const noexcept { return rank_; }
    [[nodiscard]] bool empty() const noexcept { return rank_ == 0; }
    std::uint64_t& operator[](std::size_t i) noexcept { return values_[i]; }
    std::uint64_t operator[](std::size_t i) const noexcept { return values_[i]; }
    [[nodiscard]] const std::uint64_t* begin() const noexcept { return values_.data(); }
    [[nodiscard]] const std::uint64_t* end() const noexcept { return values_.data() + rank_; }
    // "[4096, 1024]"
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const Dims& a, const Dims& b) noexcept {
        return a.rank_ == b.rank_ && std::equal(a.begin(), a.end(), b.begin());
    }

private:
    void assign(std::span<const std::uint64_t> extents) {
        rank_ = static_cast<std::uint8_t>(extents.size());
        std::copy(extents.begin(), extents.end(), values_.begin());
    }
    std::array<std::uint64_t, kMaxRank> values_{};  // unused extents stay 0
    std::uint8_t rank_ = 0;
};

// Product of the extents (1 for rank 0), or nothing where it does not fit in 64 bits.
[[nodiscard]] bool checked_product(const Dims& dims, std::uint64_t& product) noexcept;

}  // namespace wsync
