#include "transport/shm/shm_exposure.hpp"

#include "memory/slab.hpp"
#include "transport/shm/attach_frames.hpp"
#include "transport/shm/peer_process.hpp"
#include "transport/wire/descriptor.hpp"
#include "transport/wire/readiness.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <fcntl.h>
#include <fmt/format.h>
#include <list>
#include <mutex>

namespace wsync::shm {
namespace {

using namespace std::chrono_literals;

// A peer that has proved itself says at once what it wants.
constexpr auto kAttachTimeout = 5s;
constexpr auto kDestructorPatience = 100ms;

class ShmExposure final : public Exposure {
public:
    ShmExposure(const Region& region, const Nonce& nonce) : region_(region), nonce_(nonce) {}
    ~ShmExposure() override {
        (void)close(kDestructorPatience);
        if (server_) server_->stop();
    }

    Status start(const ExposureOptions& options);
    const Descriptor& descriptor() const override { return descriptor_; }
    Status close(Deadline deadline) override;

private:
    // On a thread of its own, for as long as the channel lives.
    void serve(Stream& stream);
    GrantAnswer judge(const Stream& stream, const Result<AttachRequest>& request) const;

    Region region_;  // owns the slab
    const Nonce nonce_;
    Descriptor descriptor_;
    std::unique_ptr<StreamServer> server_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool closing_ = false;
    std::list<std::string> holders_;  // by name
};

Status ShmExposure::start(const ExposureOptions& options) {
    WSYNC_TRY(const auto random, random_nonce());
    std::string name;
    for (std::size_t i = 0; i < 8; ++i) name += fmt::format("{:02x}", static_cast<unsigned>(random[i]));
    ListenOptions listen;
    listen.endpoint.address = fmt::format("unix:{}/{}", options.directory, name);
    listen.handshake = {"shm", options.secret};
    WSYNC_TRY(const auto self, current_process());
    WSYNC_TRY(server_, StreamServer::start(std::move(listen), [this](Stream& stream) { serve(stream); }));
    ServedRegion served;
    served.transport = "shm";
    served.process = self;
    served.region_bytes = region_.bytes;
    served.kind = MemoryKind::shared;
    served.nonce = nonce_;
    served.endpoints = {server_->endpoint()};
    WSYNC_TRY(descriptor_, encode_descriptor(served));
    return {};
}

GrantAnswer ShmExposure::judge(const Stream& stream, const Result<AttachRequest>& request) const {
    if (!may_be_served(stream.peer())) return GrantAnswer::other_user;
    if (!request) return GrantAnswer::malformed;
    return request->nonce == nonce_ ? GrantAnswer::granted : GrantAnswer::other_slab;
}

void ShmExposure::serve(Stream& stream) {
    auto frame = stream.receive_frame(kMaxAttachFrameBytes, kAttachTimeout);
    if (!frame) return;
    const auto request = decode_request(*frame);
    auto answer = judge(stream, request);
    UniqueFd watched;
    if (answer == GrantAnswer::granted) {
        auto process = watch_process(stream, request->importer);
        if (!process) return;
        watched = *std::move(process);
    }
    std::list<std::string>::iterator self;
    {
        const std::lock_guard lock(mutex_);
        if (closing_ && answer == GrantAnswer::granted) answer = GrantAnswer::closing;
        if (answer == GrantAnswer::granted) self = holders_.insert(holders_.end(), request->importer.to_string());
    }
    const bool told = stream.send_frame(encode(Grant{answer}), kAttachTimeout).has_value();
    if (answer != GrantAnswer::granted) return;
    constexpr std::byte kBeside{};
    if (told && stream.send_fds(std::span(&kBeside, 1), std::array{region_.fd}, kAttachTimeout)) {
        // Nothing is said any more: what comes is the end, of the connection or of the process (whose forked children may
        // keep the connection open).
        std::array<pollfd, 2> ends{pollfd{stream.fd(), POLLIN | POLLRDHUP, 0}, pollfd{watched.get(), POLLIN, 0}};
        (void)wait_ready(ends, Deadline::never());
    }
    const std::lock_guard lock(mutex_);
    holders_.erase(self);
    changed_.notify_all();
}

Status ShmExposure::close(Deadline deadline) {
    if (!server_) return {};
    {
        std::unique_lock lock(mutex_);
        closing_ = true;
        const auto nobody = [this] { return holders_.empty(); };
        if (!deadline.when()) {
            changed_.wait(lock, nobody);
        } else if (!changed_.wait_until(lock, *deadline.when(), nobody)) {
            return Error{Code::timed_out,
                         fmt::format("the slab is still attached by {}: close those channels, or close again later", fmt::join(holders_, ", ")),
                         {}};
        }
    }
    server_.reset();
    region_ = {};
    return {};
}

}  // namespace

Result<std::unique_ptr<Exposure>> expose_slab(const Region& region, const ExposureOptions& options) {
    if (region.kind != MemoryKind::shared) {
        return Error{Code::unsupported, fmt::format("shm exposes shared slabs, not memory of kind {}", name_of(region.kind)), {}};
    }
    if (region.fd_offset != 0) return Error{Code::invalid_argument, "shm exposes whole slabs, not a part of one", {}};
    // What importers would refuse is not offered to them.
    UniqueFd copy(::fcntl(region.fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) return errno_error(errno, "duplicating a slab's descriptor");
    WSYNC_TRY(const auto mapped, MappedSlab::map(std::move(copy), {}));
    if (MappedSlab::region(mapped).bytes != region.bytes) {
        return Error{Code::invalid_argument,
                     fmt::format("shm exposes whole slabs: the region has {} bytes, its slab {}", region.bytes, MappedSlab::region(mapped).bytes),
                     {}};
    }
    auto exposure = std::make_unique<ShmExposure>(region, mapped->page().nonce);
    WSYNC_TRY_VOID(exposure->start(options));
    return std::unique_ptr<Exposure>(std::move(exposure));
}

}  // namespace wsync::shm
