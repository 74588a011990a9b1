// Weights drawn as trained weights are distributed, and the small changes of a training step.
//
// Matrices are normal with a standard deviation of 1/sqrt(fan_in), vectors (norms, biases) close to 1 with 2 % spread;
// integers and sub-byte types are uniform bytes. Deterministic: equal seeds give equal bytes, on any number of threads.
#pragma once

#include "wsync/model/manifest.hpp"

#include <span>

namespace wsync {

// Fills the packed bytes of one tensor. `seed` is the checkpoint's; the tensor's name makes it the tensor's own.
// Precondition: bytes.size() == spec.bytes().
void fill_trained(const TensorSpec& spec, std::uint64_t seed, std::span<std::byte> bytes);

// What a step changes, as far as a byte-for-byte check is concerned: at least one byte of every 256 KiB, by step.
void touch_step(std::span<std::byte> bytes, std::uint64_t step);

}  // namespace wsync
