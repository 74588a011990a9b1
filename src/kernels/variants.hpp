// The variants' tables, each defined in the translation unit that is compiled for its unit. Internal to this room: which
// of them the processor can run is kernel_set.cpp's to know.
#pragma once

#include "kernels/kernel_set.hpp"

namespace wsync::kernels {

extern const KernelSet kMemcpy;
#if defined(__x86_64__)
extern const KernelSet kMovsb;       // digest of the baseline
extern const KernelSet kMemcpyAvx2;  // digest in AVX2
extern const KernelSet kMovsbAvx2;   // digest in AVX2
extern const KernelSet kAvx2Nt;
extern const KernelSet kAvx512Nt;
#endif

// Below this a non-temporal copy loses to memcpy: the lines are likely to be read again, and heads and tails weigh.
inline constexpr std::size_t kMinStreamBytes = 4096;

}  // namespace wsync::kernels
