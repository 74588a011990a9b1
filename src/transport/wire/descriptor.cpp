#include "transport/wire/descriptor.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::size_t kMaxTransportName = 32, kMaxEndpoints = 8, kMaxEndpointBytes = 512, kMaxExtraBytes = 1024;
constexpr std::string_view kWhat = "descriptor";

Result<MemoryKind> read_kind(ByteReader& in) {
    WSYNC_TRY(const auto value, in.u8());
    if (value > static_cast<std::uint8_t>(MemoryKind::device)) return Error{Code::corrupt, fmt::format("{} names the memory kind {}", kWhat, value), {}};
    return static_cast<MemoryKind>(value);
}

Result<std::vector<Endpoint>> read_endpoints(ByteReader& in) {
    WSYNC_TRY(const auto count, in.count(4));
    if (count == 0 || count > kMaxEndpoints) {
        return Error{Code::corrupt, fmt::format("{} names {} endpoints, 1 to {} are allowed", kWhat, count, kMaxEndpoints), {}};
    }
    std::vector<Endpoint> endpoints(count);
    for (auto& endpoint : endpoints) {
        WSYNC_TRY(endpoint.address, in.text(kMaxEndpointBytes));
    }
    return endpoints;
}

Result<ServedRegion> decode_body(ByteReader& in) {
    ServedRegion region;
    WSYNC_TRY(region.transport, in.text(kMaxTransportName));
    WSYNC_TRY(region.process, read_process_identity(in));
    WSYNC_TRY(region.region_bytes, in.u64());
    WSYNC_TRY(region.kind, read_kind(in));
    WSYNC_TRY(const auto allow_write, in.u8());
    if (allow_write > 1) return Error{Code::corrupt, fmt::format("{} has flags {:#x}", kWhat, allow_write), {}};
    region.allow_write = allow_write == 1;
    WSYNC_TRY(const auto nonce, in.raw(region.nonce.size()));
    std::copy(nonce.begin(), nonce.end(), region.nonce.begin());
    WSYNC_TRY(region.endpoints, read_endpoints(in));
    WSYNC_TRY(const auto extra, in.blob(kMaxExtraBytes));
    region.extra.assign(extra.begin(), extra.end());
    return region;
}

}  // namespace

Result<Descriptor> encode_descriptor(const ServedRegion& region) {
    ByteWriter out;
    out.begin_record(kDescriptorKind).text(region.transport);
    write(out, region.process);
    out.u64(region.region_bytes).u8(static_cast<std::uint8_t>(region.kind)).u8(region.allow_write ? 1 : 0).raw(region.nonce);
    out.u32(static_cast<std::uint32_t>(region.endpoints.size()));
    for (const auto& endpoint : region.endpoints) out.text(endpoint.address);
    out.blob(region.extra);
    Descriptor descriptor{region.transport, out.take()};
    // What can't be read back must not be handed out.
    if (auto back = decode_descriptor(descriptor, region.transport); !back) {
        return Error{Code::invalid_argument, fmt::format("a region can't be described: {}", back.error().message), {}};
    }
    return descriptor;
}

Result<ServedRegion> decode_descriptor(const Descriptor& descriptor, std::string_view transport) {
    if (descriptor.transport != transport) {
        return Error{Code::invalid_argument, fmt::format("the descriptor is of transport \"{}\", not of \"{}\"", descriptor.transport, transport), {}};
    }
    if (descriptor.bytes.size() > kMaxDescriptorBytes) {
        return Error{Code::corrupt, fmt::format("{} of {} bytes, the limit is {}", kWhat, descriptor.bytes.size(), kMaxDescriptorBytes), {}};
    }
    ByteReader in(descriptor.bytes, kWhat);
    WSYNC_TRY(const auto minor, in.begin_record(kDescriptorKind));
    WSYNC_TRY(auto region, decode_body(in));
    if (minor == kDescriptorKind.minor) WSYNC_TRY_VOID(in.finish());
    if (region.transport != transport) {
        return Error{Code::corrupt, fmt::format("{} of \"{}\" says inside that it is of \"{}\"", kWhat, transport, region.transport), {}};
    }
    return region;
}

Status check_reachable(const ServedRegion& region, bool same_host_only) {
    WSYNC_TRY(const auto self, current_process());
    if (same_host_only && self.boot_id != region.process.boot_id) {
        return Error{Code::unsupported,
                     fmt::format("{} runs on another machine (boot id {}, here {}): {} works on one host only", region.process.to_string(),
                                 region.process.boot_id, self.boot_id, region.transport),
                     {}};
    }
    if (liveness_of(region.process) == Liveness::dead) {
        return Error{Code::peer_lost, fmt::format("{}, which exposed the region, has gone: ask for a new descriptor", region.process.to_string()), {}};
    }
    return {};
}

}  // namespace wsync
