#include "sync/link_frames.hpp"

#include <fmt/format.h>

namespace wsync::link {
namespace {

constexpr std::size_t kMaxHeadBytes = 4096;
constexpr std::size_t kMaxPublicationBytes = 16 * 1024;
constexpr std::size_t kMinBoxBytes = 5;  // shard and number of dimensions

ByteWriter begin(Type type) {
    ByteWriter out;
    out.u8(static_cast<std::uint8_t>(type));
    return out;
}

Result<HoldKind> read_hold_kind(ByteReader& in) {
    WSYNC_TRY(auto kind, in.u8());
    if (kind > static_cast<int>(HoldKind::serve)) return Error{Code::corrupt, fmt::format("a hold of unknown kind {}", kind), {}};
    return static_cast<HoldKind>(kind);
}

void write(ByteWriter& out, const Box& box) {
    out.u8(static_cast<std::uint8_t>(box.offset.size()));
    for (auto extent : box.offset) out.u64(extent);
    for (auto extent : box.size) out.u64(extent);
}

Result<Box> read_box(ByteReader& in) {
    WSYNC_TRY(auto rank, in.u8());
    if (rank > kMaxRank) return Error{Code::corrupt, fmt::format("a box of {} dimensions, the limit is {}", rank, kMaxRank), {}};
    Box box{Dims(rank, 0), Dims(rank, 0)};
    for (auto* extents : {&box.offset, &box.size}) {
        for (std::size_t i = 0; i < rank; ++i) {
            WSYNC_TRY((*extents)[i], in.u64());
        }
    }
    return box;
}

struct Encoder {
    Bytes operator()(const Hello& hello) const {
        auto out = begin(Type::hello);
        out.begin_record(kKind);
        write(out, hello.process);
        return out.text(hello.receiver).take();
    }
    Bytes operator()(const BlobRequest& request) const { return begin(Type::blob).digest(request.digest).u64(request.offset).take(); }
    Bytes operator()(const HoldRequest& request) const {
        return begin(Type::hold).u64(request.number).u8(static_cast<std::uint8_t>(request.kind)).take();
    }
    Bytes operator()(const CheckRequest& request) const { return begin(Type::check).u64(request.hold).u8(request.release ? 1 : 0).take(); }
    Bytes operator()(const ReleaseRequest& request) const { return begin(Type::release).u64(request.hold).take(); }
    Bytes operator()(const ClaimRequest& request) const { return begin(Type::claim).u64(request.hold).take(); }
    Bytes operator()(const DigestsRequest& request) const {
        auto out = begin(Type::digests);
        out.u64(request.hold).u32(static_cast<std::uint32_t>(request.boxes.size()));
        for (const auto& box : request.boxes) link::write(out.u32(box.shard), box.box);
        return out.take();
    }
    Bytes operator()(const HeadRecord& head) const { return begin(Type::head).blob(wsync::encode(head)).take(); }
    Bytes operator()(const Offer& offer) const {
        return begin(Type::offer).blob(wsync::encode(offer.head)).raw(link::encode(offer.granted)).take();
    }
    Bytes operator()(const Revoked& revoked) const { return begin(Type::revoked).u64(revoked.hold).take(); }
};

Result<DigestsRequest> read_digests_request(ByteReader& in) {
    DigestsRequest request;
    WSYNC_TRY(request.hold, in.u64());
    WSYNC_TRY(auto count, in.count(kMinBoxBytes));
    if (count > kMaxBoxesPerRequest) {
        return Error{Code::corrupt, fmt::format("{} boxes in one request, the limit is {}", count, kMaxBoxesPerRequest), {}};
    }
    request.boxes.resize(count);
    for (auto& box : request.boxes) {
        WSYNC_TRY(box.shard, in.u32());
        WSYNC_TRY(box.box, read_box(in));
    }
    return request;
}

Result<HeadRecord> read_head_record(ByteReader& in) {
    WSYNC_TRY(auto bytes, in.blob(kMaxHeadBytes));
    return decode_head(bytes);
}

Result<GrantedHold> read_granted_hold(ByteReader& in) {
    GrantedHold granted;
    auto& hold = granted.hold;
    WSYNC_TRY(hold.id, in.u64());
    WSYNC_TRY(hold.number, in.u64());
    WSYNC_TRY(hold.slab, in.u32());
    WSYNC_TRY(hold.generation, in.u64());
    WSYNC_TRY(hold.kind, read_hold_kind(in));
    WSYNC_TRY(auto record, in.blob(kMaxPublicationBytes));
    WSYNC_TRY(granted.publication, decode_publication(record));
    return granted;
}

Result<Request> read_request(ByteReader& in, std::uint8_t type) {
    switch (static_cast<Type>(type)) {
        case Type::blob: {
            BlobRequest request;
            WSYNC_TRY(request.digest, in.digest());
            WSYNC_TRY(request.offset, in.u64());
            return Request(request);
        }
        case Type::hold: {
            HoldRequest request;
            WSYNC_TRY(request.number, in.u64());
            WSYNC_TRY(request.kind, read_hold_kind(in));
            return Request(request);
        }
        case Type::check: {
            CheckRequest request;
            WSYNC_TRY(request.hold, in.u64());
            WSYNC_TRY(auto release, in.u8());
            if (release > 1) return Error{Code::corrupt, "a link's check says neither to release nor to keep", {}};
            request.release = release == 1;
            return Request(request);
        }
        case Type::release: {
            ReleaseRequest request;
            WSYNC_TRY(request.hold, in.u64());
            return Request(request);
        }
        case Type::claim: {
            ClaimRequest request;
            WSYNC_TRY(request.hold, in.u64());
            return Request(request);
        }
        case Type::digests: {
            WSYNC_TRY(auto request, read_digests_request(in));
            return Request(std::move(request));
        }
        default: return Error{Code::corrupt, fmt::format("a link request of unknown type {}", type), {}};
    }
}

}  // namespace

Bytes encode(const Request& request) { return std::visit(Encoder{}, request); }
Bytes encode(const Push& push) { return std::visit(Encoder{}, push); }

Result<Request> decode_request(std::span<const std::byte> frame) {
    ByteReader in(frame, "link request");
    WSYNC_TRY(auto type, in.u8());
    if (type == static_cast<std::uint8_t>(Type::hello)) {
        Hello hello;
        WSYNC_TRY(hello.minor, in.begin_record(kKind));
        WSYNC_TRY(hello.process, read_process_identity(in));
        WSYNC_TRY(hello.receiver, in.text(256));
        if (hello.minor <= kKind.minor) WSYNC_TRY_VOID(in.finish());
        return Request(std::move(hello));
    }
    WSYNC_TRY(auto request, read_request(in, type));
    WSYNC_TRY_VOID(in.finish());
    return request;
}

Result<Push> decode_push(std::span<const std::byte> frame) {
    ByteReader in(frame, "link push");
    WSYNC_TRY(auto type, in.u8());
    Push push;
    switch (static_cast<Type>(type)) {
        case Type::head: {
            WSYNC_TRY(auto head, read_head_record(in));
            push = std::move(head);
            break;
        }
        case Type::offer: {
            WSYNC_TRY(auto head, read_head_record(in));
            WSYNC_TRY(auto granted, read_granted_hold(in));
            push = Offer{std::move(head), std::move(granted)};
            break;
        }
        case Type::revoked: {
            WSYNC_TRY(auto hold, in.u64());
            push = Revoked{hold};
            break;
        }
        default: return Error{Code::corrupt, fmt::format("the publisher sent a frame of unknown type {}", type), {}};
    }
    WSYNC_TRY_VOID(in.finish());
    return push;
}

Bytes reply(const Status& status, std::span<const std::byte> payload) {
    auto out = begin(Type::reply);
    if (status) return out.u8(0).raw(payload).take();
    const auto& error = status.error();
    return out.u8(static_cast<std::uint8_t>(1 + static_cast<int>(error.code))).text(std::string_view(error.message).substr(0, kMaxMessageBytes)).take();
}

bool is_reply(std::span<const std::byte> frame) { return !frame.empty() && frame.front() == static_cast<std::byte>(Type::reply); }

Result<std::span<const std::byte>> decode_reply(std::span<const std::byte> frame) {
    ByteReader in(frame, "link reply");
    WSYNC_TRY(auto type, in.u8());
    if (type != static_cast<std::uint8_t>(Type::reply)) return Error{Code::corrupt, fmt::format("a link frame of type {} is no reply", type), {}};
    WSYNC_TRY(auto code, in.u8());
    if (code == 0) return in.raw(in.remaining());
    if (code > 1 + static_cast<int>(Code::internal)) return Error{Code::corrupt, fmt::format("a link's reply has unknown code {}", code), {}};
    WSYNC_TRY(auto message, in.text(kMaxMessageBytes));
    WSYNC_TRY_VOID(in.finish());
    return Error{static_cast<Code>(code - 1), std::move(message), {}};
}

Bytes encode(const Welcome& welcome) {
    ByteWriter out;
    out.begin_record(kKind).u8(welcome.head ? 1 : 0);
    if (welcome.head) out.blob(wsync::encode(*welcome.head));
    return out.take();
}

Result<Welcome> decode_welcome(std::span<const std::byte> payload) {
    ByteReader in(payload, "link welcome");
    Welcome welcome;
    WSYNC_TRY(auto minor, in.begin_record(kKind));
    WSYNC_TRY(auto has_head, in.u8());
    if (has_head > 1) return Error{Code::corrupt, "a link's welcome neither has a head nor has none", {}};
    if (has_head == 1) {
        WSYNC_TRY(auto head, read_head_record(in));
        welcome.head = std::move(head);
    }
    if (minor <= kKind.minor) WSYNC_TRY_VOID(in.finish());
    return welcome;
}

Bytes encode(const BlobChunk& chunk) {
    ByteWriter out;
    return out.u64(chunk.total).raw(chunk.bytes).take();
}

Result<BlobChunk> decode_blob_chunk(std::span<const std::byte> payload) {
    ByteReader in(payload, "blob chunk");
    BlobChunk chunk;
    WSYNC_TRY(chunk.total, in.u64());
    if (chunk.total > kMaxBlobBytes) return Error{Code::corrupt, fmt::format("a blob of {} bytes, the limit is {}", chunk.total, kMaxBlobBytes), {}};
    WSYNC_TRY(chunk.bytes, in.raw(in.remaining()));
    if (chunk.bytes.size() > chunk.total) return Error{Code::corrupt, fmt::format("a chunk of {} bytes of a blob of {}", chunk.bytes.size(), chunk.total), {}};
    return chunk;
}

Bytes encode(const GrantedHold& granted) {
    const auto& hold = granted.hold;
    ByteWriter out;
    out.u64(hold.id).u64(hold.number).u32(hold.slab).u64(hold.generation).u8(static_cast<std::uint8_t>(hold.kind));
    return out.blob(wsync::encode(granted.publication)).take();
}

Result<GrantedHold> decode_granted_hold(std::span<const std::byte> payload) {
    ByteReader in(payload, "granted hold");
    WSYNC_TRY(auto granted, read_granted_hold(in));
    WSYNC_TRY_VOID(in.finish());
    return granted;
}

Bytes encode(std::span<const Digest> digests) {
    ByteWriter out;
    for (const auto& digest : digests) out.digest(digest);
    return out.take();
}

Result<std::vector<Digest>> decode_digests(std::span<const std::byte> payload, std::size_t count) {
    ByteReader in(payload, "digest list");
    if (in.remaining() != count * sizeof(Digest)) {
        return Error{Code::corrupt, fmt::format("{} bytes of digests, {} digests were asked for", in.remaining(), count), {}};
    }
    std::vector<Digest> digests(count);
    for (auto& digest : digests) {
        WSYNC_TRY(digest, in.digest());
    }
    return digests;
}

}  // namespace wsync::link
