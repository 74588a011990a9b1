// What happens to a transfer, as a function of its number.
#pragma once

#include "transport/fault/fault_transport.hpp"

namespace wsync::fault {

enum class Fate : std::uint8_t { pass, fail, drop, corrupt, delay, reorder };

[[nodiscard]] Fate fate_of(const FaultPolicy& policy, std::uint64_t number);

// A well-mixed number for a transfer and a purpose of its own.
[[nodiscard]] std::uint64_t mix(std::uint64_t seed, std::uint64_t number, std::uint64_t purpose) noexcept;

// Flips one byte of the transfer's local rows, which hold at least one.
void flip_one_byte(const Transfer& transfer, std::uint64_t chosen) noexcept;

}  // namespace wsync::fault
