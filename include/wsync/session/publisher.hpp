// The trainer's side: begin_write, fill, publish.
#pragma once

#include "wsync/base/deadline.hpp"
#include "wsync/base/result.hpp"
#include "wsync/model/layout.hpp"
#include "wsync/model/version.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace wsync {

class Publication;

struct PublisherOptions {
    std::string name;                  // of the weights: A-Z a-z 0-9 . _ + -
    std::uint32_t rank = 0;            // of this process among the trainer's
    std::uint32_t world = 1;
    std::string run;                   // the job's id, the same on all ranks; needed when world > 1
    Layout source;                     // of all ranks, Coverage::full; this rank's slabs hold its shards, packed
    unsigned slabs = 2;                // 2: snapshot (training goes on at once). 1: live (train in the slab itself); 3: serve in place with rollback
    bool huge_pages = true;            // 2 MiB pages where they can be had; about 1.6 s a GiB, once
    unsigned threads = 1;              // for snapshots and digests; the trainer's host has other work
    std::string version_directory;     // also writes each version to disk, under this directory; of several ranks all name the same
    unsigned keep_versions = 2;        // on disk; versions that somebody reads stay
    bool recycle_versions = true;      // overwrite retired files in place; off where foreign readers map them
    std::chrono::steady_clock::duration lease_time = std::chrono::seconds(5);
    Deadline open_deadline = std::chrono::seconds(15);  // for an older publisher's lease to end
};

// One box that this rank holds: where its packed row-major bytes lie in the slab that is being written.
struct WritableShard {
    std::string_view name;
    DType dtype = DType::f32;
    Box box;
    std::span<std::byte> bytes;
};

struct Parameter {
    std::string_view name;
    std::span<const std::byte> bytes;  // the rank's box of it, packed row-major
    std::optional<DType> dtype{};      // of the bytes; where the layout has another, they are cast in the same pass: F32 to BF16
};

// The right to write one slab; dropping it unpublished leaves the slab torn and nothing visible. Movable, one thread.
class Write {
public:
    Write(Write&& other) noexcept;
    Write& operator=(Write&& other) noexcept;
    ~Write();

    // This rank's shards, in the layout's order. Write them, all of them: a slab is recycled and holds an old version.
    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] WritableShard shard(std::size_t i) const;
    // Copies one shard and digests it in the same pass. Different shards may be copied by different threads. Bytes of type `from`,
    // where it is another than the shard's, are cast in that pass: F32 to BF16, else Error{unsupported}.
    [[nodiscard]] Status copy(std::size_t i, std::span<const std::byte> bytes, std::optional<DType> from = {});
    // Copies every shard, found by name (several boxes of one tensor: in order), on the publisher's threads.
    // Error{invalid_argument} names what is missing, unknown or of another size.
    [[nodiscard]] Status copy_from(std::span<const Parameter> parameters);

private:
    friend class Publisher;
    Write(std::shared_ptr<Publication> publication, std::uint32_t slab);
    std::shared_ptr<Publication> publication_;
    std::uint32_t slab_ = 0;
};

struct BeginWriteOptions {
    Deadline deadline = std::chrono::seconds(30);
    bool revoke = false;               // at the deadline, take the holds away: copies fail, in-place receivers are poisoned
};

struct PublishOptions {
    std::uint64_t step = 0;
    bool save = true;                  // also to the version directory, where there is one
    bool new_files = false;            // there: new files for this version, although a retired one could be written over
};

// One rank's publisher. Movable; one thread.
class Publisher {
public:
    Publisher(Publisher&&) noexcept;
    Publisher& operator=(Publisher&&) noexcept;
    ~Publisher();

    // Error{timed_out} names the holders, or the ranks that are behind.
    [[nodiscard]] Result<Write> begin_write(const BeginWriteOptions& options = {});
    // The version is visible when all ranks have published it. On a rank that is not the last, its digest is still zero.
    [[nodiscard]] Result<Version> publish(Write&& write, const PublishOptions& options = {});
    [[nodiscard]] std::uint64_t epoch() const noexcept;
    // Holds that receivers have now.
    [[nodiscard]] std::size_t holds() const;

private:
    friend class Session;
    struct Impl;
    explicit Publisher(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace wsync
