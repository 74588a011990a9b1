// Files behind the one-sided contract: io_uring with O_DIRECT where the file system takes it, threads elsewhere.
//
// expose() takes a Region of kind file and says where it is (absolute path, size, device, inode, boot id); nothing is
// served and nobody has to stay alive: attach() opens the file itself and refuses one that is not the same any more.
// Foreign files are never mapped, so one that shrinks under a read is Error{corrupt}, not a signal. Generations are not
// compared: nobody stands between the file and its reader; versions are told apart by the store.
//
// A channel merges transfers that are neighbours in the file into large aligned requests, moves straight between file
// and memory where both have the same phase, through a bounded pool of aligned slots where they have not, and takes
// digests as the bytes pass. Ranges that are in the page cache are read from there by up to two threads. A channel may
// be used by one thread at a time, not always the same one. Writes are in the file, but not durable, when they complete:
// syncing is the caller's.
#pragma once

#include "kernels/kernel_set.hpp"
#include "transport/transport.hpp"

namespace wsync {

class MemoryLedger;

enum class FileEngine : std::uint8_t { automatic, io_uring, threads };
enum class DirectIo : std::uint8_t { automatic, always, never };

struct FileOptions {
    FileEngine engine = FileEngine::automatic;
    DirectIo direct = DirectIo::automatic;      // automatic: not on tmpfs and network file systems, and not for cached ranges
    unsigned queue_depth = 16;                  // requests of chunk_bytes under way at a time, at most
    std::uint64_t chunk_bytes = 4 << 20;        // of a read; writes are four times as large. 64 KiB to 64 MiB
    unsigned threads = 0;                       // 0: two for what is cached, more where threads replace io_uring
    const KernelSet* kernels = nullptr;         // borrowed; null: default_kernels()
    MemoryLedger* ledger = nullptr;             // borrowed; counts the slots under "file bounce". May be null
};

[[nodiscard]] Result<std::unique_ptr<Transport>> make_file_transport(const FileOptions& options);

// What I/O in a directory goes through, and why not the better way.
struct FileEngineReport {
    std::string engine;      // "io_uring" or "threads"
    bool direct = false;     // O_DIRECT
    std::string reason;      // empty when it is io_uring with O_DIRECT: "tmpfs has no device behind it", "io_uring is blocked here"
    std::string filesystem;  // "ext4"
    std::string device;      // "/dev/vda"; what the kernel's mount table has

    // "io_uring, O_DIRECT", "threads, buffered (tmpfs has no device behind it)"
    [[nodiscard]] std::string name() const;
};

// By trying it with a small file without a name. Error: the directory does not exist or can't be written.
[[nodiscard]] Result<FileEngineReport> describe_file_engine(const std::string& directory, const FileOptions& options = {});

// The engine that a channel of this transport really uses (name() of its report); empty for a channel of another one.
[[nodiscard]] std::string file_engine_name(const Channel& channel);

}  // namespace wsync
