// Shared slabs behind the one-sided contract: the memfd itself is handed over, and the importer reads the pages.
//
// expose() takes a whole SharedSlab and listens on a Unix socket (mode 0600, a name that can't be guessed) in
// `socket_directory`; whoever proves the secret gets the slab's memfd by SCM_RIGHTS, once for any number of tensors.
// Each attached channel keeps its connection: the exposer learns by it, and by a pidfd, that a holder has gone, and the
// importer that the exposer has. map() is zero copy; reads are copies by the importer's own thread inside wait(), so a
// stopped exporter stalls nobody. An exporter's death leaves no name but the socket's, and pages live until the last
// map goes. Exporter and importer may be in different user, pid and mount namespaces: the socket's directory is all that
// they share, at the same path or each at its own socket_directory.
#pragma once

#include "base/secret.hpp"
#include "kernels/kernel_set.hpp"
#include "transport/transport.hpp"

namespace wsync {

struct ShmOptions {
    std::string socket_directory{};          // made with mode 0700 where it is missing; its parent must be there
    Secret secret{};                         // known to both sides
    const KernelSet* kernels = nullptr;      // borrowed; null: default_kernels()
    bool populate = false;                   // map with every page at attach; otherwise pages come as they are touched
    std::size_t queue_depth = 1024;          // transfers of one channel under way
};

// Error{invalid_argument} or {io_error}: the directory is none or can't be made.
[[nodiscard]] Result<std::unique_ptr<Transport>> make_shm_transport(ShmOptions options);

}  // namespace wsync
