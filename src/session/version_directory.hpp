// A publisher's versions on disk: each whole before it is published, old ones retired behind the trainer's back.
#pragma once

#include "memory/ledger.hpp"
#include "store/group_writer.hpp"
#include "transport/transport.hpp"

#include <future>
#include <memory>

namespace wsync {

// One thread at a time. What is retired after one version has ended before the next is written, and before destruction
// returns: a gigabyte of file takes as long to remove as half of it takes to write.
class VersionDirectory {
public:
    // `options`: root, keep and recycle count. `group`: of several ranks that write together; empty: one writes alone.
    // `kernels` and `ledger` are borrowed.
    [[nodiscard]] static Result<std::unique_ptr<VersionDirectory>> make(WriteVersionOptions options, const std::string& group, const KernelSet& kernels,
                                                                        MemoryLedger* ledger);
    ~VersionDirectory();

    // The version's path; durable, and of one rank whole. Errors as VersionWriter::write's.
    [[nodiscard]] Result<std::string> write(const Version& version, const VersionContent& content, bool new_files);
    // Of several ranks: makes what all have written whole. Errors as GroupVersionWriter::commit's.
    [[nodiscard]] Status commit(const Version& version, std::span<const Digest> lists, Deadline deadline);
    // Starts retiring what is beyond `keep`, on the rank that made the last version whole. Where that fails, the next
    // write finds and removes it.
    void retire(const std::string& name);

private:
    VersionDirectory(WriteVersionOptions options, const std::string& group, std::unique_ptr<Transport> bulk);
    void await_retired();

    WriteVersionOptions options_;
    std::unique_ptr<Transport> bulk_;
    std::unique_ptr<FileSystem> files_;
    VersionWriter writer_;
    std::unique_ptr<GroupVersionWriter> group_;  // null: one rank
    bool retires_ = true;
    std::future<void> retiring_;
};

}  // namespace wsync
