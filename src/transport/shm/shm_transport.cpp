#include "transport/shm/shm_transport.hpp"

#include "memory/slab.hpp"
#include "transport/shm/attach_frames.hpp"
#include "transport/shm/peer_process.hpp"
#include "transport/shm/shm_channel.hpp"
#include "transport/shm/shm_exposure.hpp"
#include "transport/wire/descriptor.hpp"

#include <array>
#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>

namespace wsync {
namespace {

constexpr Capabilities kCapabilities{.name = "shm",
                                     .host = false,
                                     .shared = true,
                                     .file = false,
                                     .device = false,
                                     .read = true,
                                     .write = false,
                                     .map = true,
                                     .rows = true,
                                     .digests = true,
                                     .fences = false,
                                     .same_host_only = true};

Status refusal(shm::GrantAnswer answer, const std::string& who) {
    switch (answer) {
        case shm::GrantAnswer::granted:
            return {};
        case shm::GrantAnswer::other_slab:
            return Error{Code::not_found, fmt::format("{} exposes another slab there now: ask for a new descriptor", who), {}};
        case shm::GrantAnswer::closing:
            return Error{Code::unavailable, fmt::format("{} is closing the slab", who), {}};
        case shm::GrantAnswer::other_user:
            return Error{Code::unsupported, fmt::format("{} serves its own user and root only: run both sides as one user", who), {}};
        case shm::GrantAnswer::malformed:
            break;
    }
    return Error{Code::corrupt, fmt::format("{} did not understand the request", who), {}};
}

class ShmTransport final : public Transport {
public:
    explicit ShmTransport(ShmOptions options)
        : options_(std::move(options)), kernels_(options_.kernels != nullptr ? *options_.kernels : default_kernels()) {}

    const Capabilities& capabilities() const override { return kCapabilities; }

    Result<std::unique_ptr<Exposure>> expose(const Region& region, const ExposeOptions& options) override {
        // Peers compare with the page itself; options.generation is that page's.
        if (options.allow_write) return Error{Code::unsupported, "shm peers read and map: a slab can't be opened for their writes", {}};
        return shm::expose_slab(region, {options_.socket_directory, options_.secret});
    }

    Result<std::unique_ptr<Channel>> attach(const Descriptor& descriptor, const AttachOptions& options) override {
        WSYNC_TRY(const auto served, decode_descriptor(descriptor, "shm"));
        if (served.kind != MemoryKind::shared) return Error{Code::corrupt, "the descriptor is no shared slab's", {}};
        WSYNC_TRY_VOID(check_reachable(served, true));
        const std::string who = served.process.to_string();
        return attach_to(served, who, options.deadline).within(fmt::format("attaching to a slab of {}", who));
    }

private:
    [[nodiscard]] Result<Stream> connect(const ServedRegion& served, Deadline deadline) const {
        const Handshake handshake{"shm", options_.secret};
        const Endpoint& endpoint = served.endpoints.front();
        if (!endpoint.is_unix()) return Error{Code::corrupt, fmt::format("the descriptor of a slab leads to {}", endpoint.address), {}};
        auto stream = connect_stream(endpoint, handshake, deadline);
        if (stream || stream.error().code != Code::unavailable) return stream;
        // In another mount namespace the shared directory may have another path.
        const auto name = std::filesystem::path(endpoint.address.substr(5)).filename();
        const Endpoint ours{"unix:" + (std::filesystem::path(options_.socket_directory) / name).string()};
        std::error_code error;
        if (ours.address == endpoint.address || !std::filesystem::is_socket(std::filesystem::path(options_.socket_directory) / name, error)) return stream;
        return connect_stream(ours, handshake, deadline);
    }

    [[nodiscard]] Result<std::unique_ptr<Channel>> attach_to(const ServedRegion& served, const std::string& who, Deadline deadline) const {
        WSYNC_TRY(auto stream, connect(served, deadline));
        WSYNC_TRY(const auto self, current_process());
        WSYNC_TRY_VOID(stream.send_frame(shm::encode(shm::AttachRequest{served.nonce, self}), deadline));
        WSYNC_TRY(const auto frame, stream.receive_frame(shm::kMaxAttachFrameBytes, deadline));
        WSYNC_TRY(const auto grant, shm::decode_grant(frame));
        WSYNC_TRY_VOID(refusal(grant.answer, who));
        std::byte beside{};
        WSYNC_TRY(auto fds, stream.receive_fds(std::span(&beside, 1), 1, deadline));
        if (fds.size() != 1) return Error{Code::corrupt, fmt::format("{} granted the slab and sent none", who), {}};
        MappedSlab::Options map;
        map.populate = options_.populate;
        WSYNC_TRY(auto slab, MappedSlab::map(std::move(fds.front()), map));
        if (slab->page().nonce != served.nonce || MappedSlab::region(slab).bytes != served.region_bytes) {
            return Error{Code::corrupt, fmt::format("{} sent another slab than the descriptor names", who), {}};
        }
        WSYNC_TRY(auto exporter, shm::watch_process(stream, served.process));
        return shm::make_channel({std::move(slab), std::move(stream), std::move(exporter), who}, kernels_, options_.queue_depth);
    }

    const ShmOptions options_;
    const KernelSet& kernels_;
};

Status make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0700) == 0) return {};
    if (errno != EEXIST) return errno_error(errno, fmt::format("making the socket directory {}", path));
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return errno_error(errno, fmt::format("looking at the socket directory {}", path));
    if (!S_ISDIR(status.st_mode)) return Error{Code::invalid_argument, fmt::format("{} is no directory: choose another for the sockets", path), {}};
    return {};
}

}  // namespace

Result<std::unique_ptr<Transport>> make_shm_transport(ShmOptions options) {
    if (options.socket_directory.empty()) return Error{Code::invalid_argument, "shm needs a directory for its sockets", {}};
    // Importers may run somewhere else.
    std::error_code error;
    options.socket_directory = std::filesystem::absolute(options.socket_directory, error).lexically_normal().string();
    if (error) return Error{Code::io_error, fmt::format("the working directory is gone: {}", error.message()), {}};
    WSYNC_TRY_VOID(make_directory(options.socket_directory));
    return std::unique_ptr<Transport>(std::make_unique<ShmTransport>(std::move(options)));
}

}  // namespace wsync
