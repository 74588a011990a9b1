#include "transport/file/file_transport.hpp"

#include "base/process.hpp"
#include "transport/file/file_channel.hpp"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

namespace wsync {
namespace {

using namespace file_transport;

class FileExposure final : public Exposure {
public:
    FileExposure(Descriptor descriptor, std::shared_ptr<const void> owner) : descriptor_(std::move(descriptor)), owner_(std::move(owner)) {}
    const Descriptor& descriptor() const override { return descriptor_; }
    // Channels have opened the file themselves: there is no work of ours to wait for.
    Status close(Deadline) override {
        owner_.reset();
        return {};
    }

private:
    Descriptor descriptor_;
    std::shared_ptr<const void> owner_;
};

int open_retrying(const std::string& path, int flags) {
    int fd;
    do fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    return fd;
}

class FileTransport final : public Transport {
public:
    FileTransport(const FileOptions& options, ProcessIdentity self) : options_(options), self_(std::move(self)) {
        capabilities_.name = "file";
        capabilities_.file = true;
        capabilities_.read = true;
        capabilities_.write = true;
        capabilities_.same_host_only = true;
    }
    const Capabilities& capabilities() const override { return capabilities_; }
    Result<std::unique_ptr<Exposure>> expose(const Region& region, const ExposeOptions& options) override;
    Result<std::unique_ptr<Channel>> attach(const Descriptor& descriptor, const AttachOptions& options) override;

private:
    FileOptions options_;
    ProcessIdentity self_;
    std::string obstacle_ = io_uring_obstacle();  // asked once; a ring that can't be made later is a fallback all the same
    Capabilities capabilities_;
};

Result<std::unique_ptr<Exposure>> FileTransport::expose(const Region& region, const ExposeOptions& options) {
    if (region.kind != MemoryKind::file || region.path.empty()) {
        return Error{Code::unsupported, fmt::format("the file transport exposes files, not {} memory", name_of(region.kind))};
    }
    if (options.allow_write && !region.writable) {
        return Error{Code::invalid_argument, fmt::format("{} was opened for reading: peers can't be allowed to write it", region.path)};
    }
    const std::unique_ptr<char, void (*)(void*)> absolute(::realpath(region.path.c_str(), nullptr), ::free);
    if (absolute == nullptr) return errno_error(errno, fmt::format("looking for {}", region.path));
    struct stat by_path {}, by_fd {};
    if (::stat(absolute.get(), &by_path) != 0) return errno_error(errno, fmt::format("stat of {}", region.path));
    if (region.fd >= 0) {
        if (::fstat(region.fd, &by_fd) != 0) return errno_error(errno, fmt::format("fstat of {}", region.path));
        if (by_fd.st_dev != by_path.st_dev || by_fd.st_ino != by_path.st_ino) {
            return Error{Code::not_found, fmt::format("{} is not the file any more that the region was opened from", region.path)};
        }
    }
    FileIdentity identity;
    identity.boot_id = self_.boot_id;
    identity.host = self_.host;
    identity.path = absolute.get();
    identity.device = by_path.st_dev;
    identity.inode = by_path.st_ino;
    identity.file_bytes = static_cast<std::uint64_t>(by_path.st_size);
    identity.offset = region.fd_offset;
    identity.bytes = region.bytes;
    identity.allow_write = options.allow_write;
    Descriptor descriptor = encode(identity);
    // What decode would refuse must not leave the house: a path that is too long, a region outside the file.
    if (auto readable = decode(descriptor); !readable) return std::move(readable).error().within(fmt::format("exposing {}", region.path));
    return std::unique_ptr<Exposure>(std::make_unique<FileExposure>(std::move(descriptor), region.owner));
}

Result<std::unique_ptr<Channel>> FileTransport::attach(const Descriptor& descriptor, const AttachOptions&) {
    WSYNC_TRY(auto identity, decode(descriptor));
    if (identity.boot_id != self_.boot_id) {
        return Error{Code::unsupported, fmt::format("{} was exposed on {} (boot {}), this is {} (boot {}): open it here by its path instead", identity.path,
                                                    identity.host, identity.boot_id, self_.host, self_.boot_id)};
    }
    const int access = identity.allow_write ? O_RDWR : O_RDONLY;
    UniqueFd buffered(open_retrying(identity.path, access));
    if (!buffered) return errno_error(errno, fmt::format("opening {}", identity.path));
    struct stat st {};
    if (::fstat(buffered.get(), &st) != 0) return errno_error(errno, fmt::format("fstat of {}", identity.path));
    if (!S_ISREG(st.st_mode) || st.st_dev != identity.device || st.st_ino != identity.inode) {
        return Error{Code::not_found, fmt::format("{} is another file now (inode {}, not {}): it was replaced after it had been exposed", identity.path,
                                                  st.st_ino, identity.inode)};
    }
    if (static_cast<std::uint64_t>(st.st_size) != identity.file_bytes) {
        return Error{Code::corrupt, fmt::format("{} has {} bytes, not {}: it changed after it had been exposed", identity.path, st.st_size,
                                                identity.file_bytes)};
    }
    const auto facts = filesystem_kind(buffered.get());
    auto rules = direct_rules(buffered.get(), facts, options_.direct);
    UniqueFd direct;
    if (rules.possible) {
        direct.reset(open_retrying(identity.path, access | O_DIRECT));
        struct stat same {};
        if (!direct) {
            rules.possible = false;
            rules.reason = fmt::format("{} refuses O_DIRECT", facts.name);
        } else if (::fstat(direct.get(), &same) != 0 || same.st_ino != st.st_ino || same.st_dev != st.st_dev) {
            return Error{Code::not_found, fmt::format("{} was replaced while it was being opened", identity.path)};
        }
    }
    WSYNC_TRY(auto report, choose_engine(options_, facts, rules, obstacle_));
    WSYNC_TRY(auto channel, FileChannel::make(options_, identity, std::move(buffered), std::move(direct), facts, rules, std::move(report)));
    return std::unique_ptr<Channel>(std::move(channel));
}

}  // namespace

Result<std::unique_ptr<Transport>> make_file_transport(const FileOptions& options) {
    if (options.queue_depth == 0 || options.queue_depth > 64) {
        return Error{Code::invalid_argument, fmt::format("queue_depth is {}; it must be 1 to 64", options.queue_depth)};
    }
    if (options.chunk_bytes < (64 << 10) || options.chunk_bytes > (64 << 20) || options.chunk_bytes % 4096 != 0) {
        return Error{Code::invalid_argument, fmt::format("chunk_bytes is {}; it must be a multiple of 4096 from 64 KiB to 64 MiB", options.chunk_bytes)};
    }
    WSYNC_TRY(auto self, current_process());
    return std::unique_ptr<Transport>(std::make_unique<FileTransport>(options, std::move(self)));
}

std::string file_engine_name(const Channel& channel) {
    const auto* file = dynamic_cast<const FileChannel*>(&channel);
    return file != nullptr ? file->engine_name() : std::string();
}

}  // namespace wsync
