// A publisher's versions on disk: each written whole before it is published, old ones retired behind the trainer's back.
#pragma once

#include "memory/ledger.hpp"
#include "store/version_writer.hpp"
#include "transport/transport.hpp"

#include <future>
#include <memory>

namespace wsync {

// One thread at a time. What is retired after one version has ended before the next is written, and before destruction
// returns: a gigabyte of file takes as long to remove as half of it takes to write.
class VersionDirectory {
public:
    // `options`: root, keep and recycle count. `kernels` and `ledger` are borrowed.
    [[nodiscard]] static Result<std::unique_ptr<VersionDirectory>> make(WriteVersionOptions options, const KernelSet& kernels, MemoryLedger* ledger);
    ~VersionDirectory();

    // The version's path, whole and durable. Errors as VersionWriter::write's.
    [[nodiscard]] Result<std::string> write(const Version& version, const VersionContent& content, bool new_files);
    // Starts retiring what is beyond `keep`. Where that fails, the next write finds and removes it.
    void retire(const std::string& name);

private:
    VersionDirectory(WriteVersionOptions options, std::unique_ptr<Transport> bulk);
    void await_retired();

    WriteVersionOptions options_;
    std::unique_ptr<Transport> bulk_;
    std::unique_ptr<FileSystem> files_;
    VersionWriter writer_;
    std::future<void> retiring_;
};

}  // namespace wsync
