// What a handle is, from live objects: a slab that one process exports and another one opens.
//
// Two children, each with a session of its own; this process only carries questions and answers and maps nothing. The
// exporter publishes in place (one slab), the importer maps and holds. The kernel's own words (/proc/self/maps, seals,
// frames) stand beside what wsync says. Start it while the process has one thread; nothing stays behind.
#pragma once

#include "measure/bench.hpp"
#include "measure/mapped_page.hpp"

namespace wsync {

struct ExplainIpcOptions {
    Manifest manifest;
    std::string model;                      // for the report
    unsigned threads = 2;                   // of each process
    int opens = 21, copies = 5;             // how often each is timed
    bool huge_pages = true;
    std::function<void(double fraction, std::string_view what)> progress;
    const std::atomic<bool>* interrupted = nullptr;  // ends it as soon as it is true; borrowed
};

// One process's view of the same page: the first of the largest tensor.
struct IpcSide {
    std::int64_t pid = 0;
    MappedPage page;
    std::optional<std::uint64_t> frame;     // nothing where the kernel does not tell
    std::vector<std::string> seals;         // of the memfd, by this process's own descriptor
    std::string digest;                     // of every byte, read through this process's addresses
};

struct IpcExplanation {
    std::string machine, model;
    std::uint64_t bytes = 0, tensors = 0;
    // The handle's four fields, as they really are.
    std::string kind, host, boot_id;        // "shared"
    std::string tensor, dtype;              // the example
    Dims shape;
    std::uint64_t tensor_offset = 0, tensor_bytes = 0, slab_bytes = 0;
    std::uint64_t holds_before = 0, holds_during = 0, holds_after = 0;
    std::string refused_write;              // what a write under the hold was told
    double refused_after_seconds = 0;
    IpcSide exporter, importer;
    // One page: written here, read there.
    std::string written, read;              // hexadecimal
    bool same_address_later = false;        // the importer's address of the next version
    std::uint64_t moved_later = 0;          // bytes of handles and weights for the next version
    double later_seconds = 0;               // from asking to every byte read again
    std::uint64_t later_rss_anon_growth = 0;
    // The figures.
    std::uint64_t handle_bytes = 0, handles = 0;
    Spread open_seconds, copy_seconds;
    std::uint64_t bytes_moved = 0;          // by the first opening: the handle; no weights
    std::uint64_t importer_rss_anon_growth = 0;  // the kernel's figure over opening and reading every byte: tables of the layout
    std::uint64_t copied_bytes = 0;         // by each copy, for comparison
    std::string other_host, gone;           // what a handle is told on another host, and when its exporter has gone

    [[nodiscard]] bool same_object() const;         // device, inode and offset agree
    [[nodiscard]] std::uint64_t weight_bytes_moved() const;  // what the first opening moved beyond its handle
    [[nodiscard]] std::optional<bool> same_frame() const;
    [[nodiscard]] bool verified() const;            // every byte, and the byte that was written
};

// Error{resource_exhausted} before anything is allocated when memory does not hold it; Error{corrupt} when the two sides do
// not see the same bytes.
[[nodiscard]] Result<IpcExplanation> explain_ipc(const ExplainIpcOptions& options);
// The document "wsync.explain_ipc/1".
[[nodiscard]] Json to_json(const IpcExplanation& explanation);

}  // namespace wsync
