#include "session/version_directory.hpp"

#include "store/retention.hpp"
#include "transport/file/file_transport.hpp"

#include <system_error>

namespace wsync {

Result<std::unique_ptr<VersionDirectory>> VersionDirectory::make(WriteVersionOptions options, const KernelSet& kernels, MemoryLedger* ledger) {
    FileOptions file_options;
    file_options.kernels = &kernels;
    file_options.ledger = ledger;
    WSYNC_TRY(auto bulk, make_file_transport(file_options));
    return std::unique_ptr<VersionDirectory>(new VersionDirectory(std::move(options), std::move(bulk)));
}

VersionDirectory::VersionDirectory(WriteVersionOptions options, std::unique_ptr<Transport> bulk)
    : options_(std::move(options)), bulk_(std::move(bulk)), files_(make_file_system(bulk_.get())), writer_(*files_) {}

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
    WSYNC_TRY(auto written, writer_.write(write, content));
    return written.path;
}

void VersionDirectory::retire(const std::string& name) {
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
