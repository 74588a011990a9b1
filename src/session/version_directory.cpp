#include "session/version_directory.hpp"

#include "store/retention.hpp"
#include "transport/file/file_transport.hpp"

#include <system_error>

namespace wsync {

Result<std::unique_ptr<VersionDirectory>> VersionDirectory::make(WriteVersionOptions options, const std::string& group, const KernelSet& kernels,
                                                                 MemoryLedger* ledger) {
    FileOptions file_options;
    file_options.kernels = &kernels;
    file_options.ledger = ledger;
    WSYNC_TRY(auto bulk, make_file_transport(file_options));
    return std::unique_ptr<VersionDirectory>(new VersionDirectory(std::move(options), group, std::move(bulk)));
}

VersionDirectory::VersionDirectory(WriteVersionOptions options, const std::string& group, std::unique_ptr<Transport> bulk)
    : options_(std::move(options)), bulk_(std::move(bulk)), files_(make_file_system(bulk_.get())), writer_(*files_) {
    if (group.empty()) return;
    group_ = std::make_unique<GroupVersionWriter>(*files_, group);
    retires_ = false;
}

VersionDirectory::~VersionDirectory() { await_retired(); }

void VersionDirectory::await_retired() {
    if (retiring_.valid()) retiring_.get();
}

Result<std::string> VersionDirectory::write(const Version& version, const VersionContent& content, bool new_files) {
    await_retired();
    auto write = options_;
    write.version = version;
    write.new_files = new_files;
    write.keep = 0;  // see retire
    if (group_) {
        retires_ = false;
        WSYNC_TRY(auto part, group_->write(write, content));
        return part.path;
    }
    WSYNC_TRY(auto written, writer_.write(write, content));
    return written.path;
}

Status VersionDirectory::commit(const Version& version, std::span<const Digest> lists, Deadline deadline) {
    WSYNC_TRY(const auto committed, group_->commit(version.digest, lists, deadline));
    retires_ = retires_ || committed.here;
    return {};
}

void VersionDirectory::retire(const std::string& name) {
    if (!retires_) return;
    const auto work = [this, directory = options_.root + "/" + name] {
        [[maybe_unused]] const auto notes = retire_versions(*files_, directory, options_.keep, options_.recycle);
    };
    await_retired();
    try {
        retiring_ = std::async(std::launch::async, work);
    } catch (const std::system_error&) {
        work();  // no thread is to be had
    }
}

}  // namespace wsync
