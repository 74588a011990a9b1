// The exporter's side of one slab: a socket, and who holds the slab through it.
#pragma once

#include "transport/transport.hpp"
#include "transport/wire/stream.hpp"

namespace wsync::shm {

struct ExposureOptions {
    std::string directory;  // absolute, there
    Secret secret{};
};

// Error{invalid_argument}: the region is not a whole sealed slab.
[[nodiscard]] Result<std::unique_ptr<Exposure>> expose_slab(const Region& region, const ExposureOptions& options);

}  // namespace wsync::shm
