// A version's directory on disk as a source: it outlives its trainer, and readers pin it.
#pragma once

#include "memory/ledger.hpp"
#include "sync/source.hpp"

namespace wsync {

// Opens what the publisher wrote into `directory`, as one rank that holds the boxes that its ranks held. Where a receiver
// wants only parts of blocks, the blocks are read whole and proved, and the parts' digests taken from them: what it wants
// is then read a second time. Error{unavailable}: it was not written to disk (an empty name), or has been removed.
[[nodiscard]] Result<std::unique_ptr<Source>> open_directory_source(const Version& version, const std::string& directory, const SourceTimes& times,
                                                                    const KernelSet& kernels, MemoryLedger* ledger);

}  // namespace wsync
