// A version's directory on disk as a source: it outlives its trainer, and readers pin it.
#pragma once

#include "memory/ledger.hpp"
#include "sync/records.hpp"
#include "sync/source.hpp"

namespace wsync {

// Opens what the publication wrote. Error{unavailable}: it was not written to disk, or has been removed.
[[nodiscard]] Result<std::unique_ptr<Source>> open_directory_source(const Version& version, const PublicationRecord& publication,
                                                                    const KernelSet& kernels, MemoryLedger* ledger);

}  // namespace wsync
