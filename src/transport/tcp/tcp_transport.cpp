#include "transport/tcp/tcp_transport.hpp"

#include "transport/tcp/attachment.hpp"
#include "transport/tcp/serving.hpp"
#include "transport/tcp/tcp_channel.hpp"
#include "transport/wire/descriptor.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

using namespace tcp;

constexpr std::string_view kName = "tcp";
// How long an exposure that is dropped without close() waits for what is under way.
constexpr auto kDropPatience = std::chrono::milliseconds(200);

class TcpExposure final : public Exposure {
public:
    TcpExposure(std::shared_ptr<ExposedTable> table, std::uint64_t id, std::shared_ptr<Exposed> exposed, Descriptor descriptor)
        : table_(std::move(table)), id_(id), exposed_(std::move(exposed)), descriptor_(std::move(descriptor)) {}
    ~TcpExposure() override {
        if (!close(kDropPatience)) exposed_->cut();
    }
    const Descriptor& descriptor() const override { return descriptor_; }
    Status close(Deadline deadline) override {
        table_->remove(id_);
        return exposed_->close(deadline);
    }

private:
    std::shared_ptr<ExposedTable> table_;
    std::uint64_t id_;
    std::shared_ptr<Exposed> exposed_;
    Descriptor descriptor_;
};

class TcpTransport final : public Transport {
public:
    TcpTransport(TcpOptions options, ProcessIdentity self) : options_(std::move(options)), self_(std::move(self)) {}
    ~TcpTransport() override {
        if (server_) server_->stop();
    }

    const Capabilities& capabilities() const override {
        static constexpr Capabilities kCapabilities{.name = kName, .host = true, .shared = true, .file = true, .read = true, .write = true};
        return kCapabilities;
    }

    Result<std::unique_ptr<Exposure>> expose(const Region& region, const ExposeOptions& options) override {
        if (region.kind == MemoryKind::device) {
            return Error{Code::unsupported, "tcp sends from host memory and files: copy device memory to the host first"};
        }
        if (region.bytes > 0 && region.address == nullptr && region.fd < 0) {
            return Error{Code::invalid_argument, "a region to expose needs an address or a descriptor"};
        }
        WSYNC_TRY(const auto endpoint, listening());
        WSYNC_TRY(const auto nonce, random_nonce());
        auto exposed = std::make_shared<Exposed>(region, options, nonce);
        const auto id = table_->add(exposed);
        ByteWriter extra;
        extra.u64(id);
        auto descriptor = encode_descriptor({.transport = std::string(kName), .process = self_, .region_bytes = region.bytes, .kind = region.kind,
                                             .allow_write = exposed->allow_write(), .nonce = nonce, .endpoints = {endpoint}, .extra = extra.take()});
        if (!descriptor) {
            table_->remove(id);
            return std::move(descriptor).error();
        }
        return std::unique_ptr<Exposure>(std::make_unique<TcpExposure>(table_, id, std::move(exposed), *std::move(descriptor)));
    }

    Result<std::unique_ptr<Channel>> attach(const Descriptor& descriptor, const AttachOptions& options) override {
        WSYNC_TRY(const auto region, decode_descriptor(descriptor, kName));
        WSYNC_TRY_VOID(check_reachable(region, false));
        ByteReader extra(region.extra, "tcp descriptor");
        WSYNC_TRY(const auto id, extra.u64());
        Attached attached;
        attached.peer = region.process.to_string();
        if (auto process = open_pidfd(region.process)) {
            attached.peer_process = *std::move(process);
        } else if (process.error().code == Code::not_found) {
            return Error{Code::peer_lost, fmt::format("{} has gone: ask for a new descriptor", region.process.to_string())};
        }
        std::optional<Error> first;
        for (const auto& endpoint : region.endpoints) {
            auto stream = connect_stream(endpoint, {std::string(kName), options_.secret}, options.deadline);
            if (stream) return attach_over(*std::move(stream), id, region, std::move(attached), options.deadline);
            if (!first) first = std::move(stream).error();
        }
        return std::move(*first).within(fmt::format("attaching to a region of {}", region.process.to_string()));
    }

private:
    // Where peers find us; the first call begins to listen.
    Result<Endpoint> listening() {
        const std::lock_guard lock(mutex_);
        if (!server_) {
            const ServeOptions serve_options{.writer = {.splice = options_.splice, .stall_timeout = options_.stall_timeout}};
            ListenOptions listen{.endpoint = {fmt::format("tcp:{}:{}", bracketed(options_.listen_host), options_.port)},
                                 .handshake = {std::string(kName), options_.secret}};
            listen.max_connections = options_.max_connections;
            WSYNC_TRY(server_, StreamServer::start(std::move(listen), [table = table_, serve_options](Stream& stream) {
                serve_stream(stream, *table, serve_options);
            }));
        }
        if (options_.advertise_host.empty()) return server_->endpoint();
        const auto& address = server_->endpoint().address;
        return Endpoint{fmt::format("tcp:{}{}", bracketed(options_.advertise_host), address.substr(address.rfind(':')))};
    }

    static std::string bracketed(const std::string& host) {
        return host.find(':') != std::string::npos && !host.starts_with('[') ? fmt::format("[{}]", host) : host;
    }

    Result<std::unique_ptr<Channel>> attach_over(Stream stream, std::uint64_t id, const ServedRegion& region, Attached attached, Deadline deadline) {
        WSYNC_TRY_VOID(stream.send_frame(encode(AttachRequest{id, region.nonce, self_}), deadline));
        WSYNC_TRY(const auto frame, stream.receive_frame(kMaxAttachBytes, deadline));
        WSYNC_TRY(auto reply, decode_attach_reply(frame));
        if (reply.refusal) return std::move(*reply.refusal).within(fmt::format("attaching to a region of {}", region.process.to_string()));
        if (reply.region_bytes != region.region_bytes) {
            return Error{Code::corrupt, fmt::format("{} exposes {} bytes, its descriptor says {}", attached.peer, reply.region_bytes, region.region_bytes)};
        }
        attached.region_bytes = reply.region_bytes;
        attached.writable = reply.writable;
        ChannelOptions channel{.kernels = options_.kernels, .max_outstanding = options_.max_outstanding,
                               .max_outstanding_bytes = options_.max_outstanding_bytes};
        return std::unique_ptr<Channel>(std::make_unique<TcpChannel>(std::move(stream), std::move(attached), channel));
    }

    TcpOptions options_;
    const ProcessIdentity self_;
    // Shared with exposures, which may outlive the transport.
    const std::shared_ptr<ExposedTable> table_ = std::make_shared<ExposedTable>();
    std::mutex mutex_;  // guards server_
    std::unique_ptr<StreamServer> server_;
};

}  // namespace

Result<std::unique_ptr<Transport>> make_tcp_transport(TcpOptions options) {
    if (options.advertise_host.empty() && (options.listen_host == "0.0.0.0" || options.listen_host == "::" || options.listen_host.empty())) {
        return Error{Code::invalid_argument, fmt::format("listening on \"{}\" needs a host to advertise: peers can't connect to a wildcard", options.listen_host)};
    }
    if (options.max_outstanding == 0) return Error{Code::invalid_argument, "max_outstanding is 0: no transfer would ever be taken"};
    if (options.kernels == nullptr) options.kernels = &default_kernels();
    WSYNC_TRY(auto self, current_process());
    return std::unique_ptr<Transport>(std::make_unique<TcpTransport>(std::move(options), std::move(self)));
}

}  // namespace wsync
