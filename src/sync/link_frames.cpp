#include "sync/link_frames.hpp"

#include <fmt/format.h>

namespace wsync::link {

ByteWriter request(Type type) {
    ByteWriter out;
    out.u8(static_cast<std::uint8_t>(type));
    return out;
}

Bytes reply(const Status& status, std::span<const std::byte> payload) {
    auto out = request(Type::reply);
    if (status) {
        out.u8(0).raw(payload);
    } else {
        out.u8(static_cast<std::uint8_t>(1 + static_cast<int>(status.error().code))).text(status.error().message);
    }
    return out.take();
}

Result<Bytes> decode_reply(ByteReader& in) {
    WSYNC_TRY(auto code, in.u8());
    if (code != 0) {
        if (code > 1 + static_cast<int>(Code::internal)) return Error{Code::corrupt, "a link's reply has an unknown code", {}};
        WSYNC_TRY(auto message, in.text(16 * 1024));
        return Error{static_cast<Code>(code - 1), std::move(message), {}};
    }
    WSYNC_TRY(auto payload, in.raw(in.remaining()));
    return Bytes(payload.begin(), payload.end());
}

void write(ByteWriter& out, const Hold& hold) {
    out.u64(hold.id).u64(hold.number).u32(hold.slab).u64(hold.generation).u8(static_cast<std::uint8_t>(hold.kind));
}

Result<Hold> read_hold(ByteReader& in) {
    Hold hold;
    WSYNC_TRY(hold.id, in.u64());
    WSYNC_TRY(hold.number, in.u64());
    WSYNC_TRY(hold.slab, in.u32());
    WSYNC_TRY(hold.generation, in.u64());
    WSYNC_TRY(auto kind, in.u8());
    if (kind > static_cast<int>(HoldKind::serve)) return Error{Code::corrupt, "a hold of an unknown kind", {}};
    hold.kind = static_cast<HoldKind>(kind);
    return hold;
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
    for (std::size_t i = 0; i < rank; ++i) {
        WSYNC_TRY(box.offset[i], in.u64());
    }
    for (std::size_t i = 0; i < rank; ++i) {
        WSYNC_TRY(box.size[i], in.u64());
    }
    return box;
}

}  // namespace wsync::link
