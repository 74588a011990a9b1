// The importer's side of one attachment.
#pragma once

#include "kernels/kernel_set.hpp"
#include "memory/slab.hpp"
#include "transport/transport.hpp"
#include "transport/wire/stream.hpp"

namespace wsync::shm {

struct Attachment {
    std::shared_ptr<MappedSlab> slab;
    Stream stream;             // to the exposer, open for as long as the slab is held
    UniqueFd exporter;         // a pidfd; none where there is no way to have one
    std::string exporter_name;
};

// `kernels` is borrowed.
[[nodiscard]] std::unique_ptr<Channel> make_channel(Attachment attachment, const KernelSet& kernels, std::size_t queue_depth);

}  // namespace wsync::shm
