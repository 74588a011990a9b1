#define XXH_INLINE_ALL
#include <xxhash.h>

#include "kernels/steps.hpp"
#include "kernels/variants.hpp"

namespace wsync::kernels {

constinit const KernelSet kMemcpy = kernel_set<step_memcpy, end_nothing>("memcpy");
#if defined(__x86_64__)
constinit const KernelSet kMovsb = kernel_set<step_movsb, end_nothing>("movsb");
#endif

}  // namespace wsync::kernels
