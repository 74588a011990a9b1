#include "base/bytes.hpp"

#include <cstring>
#include <fmt/format.h>

namespace wsync {
namespace {

template <class Int>
void append_little_endian(Bytes& bytes, Int value) {
    for (std::size_t i = 0; i < sizeof(Int); ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

template <class Int>
Int load_little_endian(std::span<const std::byte> bytes) {
    Int value = 0;
    for (std::size_t i = 0; i < sizeof(Int); ++i)
        value = static_cast<Int>(value | static_cast<Int>(static_cast<Int>(bytes[i]) << (8 * i)));
    return value;
}

}  // namespace

ByteWriter& ByteWriter::begin_record(RecordKind kind) {
    raw(as_bytes_of(kind.kind.substr(0, 4)));
    return u16(kind.major).u16(kind.minor);
}
ByteWriter& ByteWriter::u8(std::uint8_t value) { return append_little_endian(bytes_, value), *this; }
ByteWriter& ByteWriter::u16(std::uint16_t value) { return append_little_endian(bytes_, value), *this; }
ByteWriter& ByteWriter::u32(std::uint32_t value) { return append_little_endian(bytes_, value), *this; }
ByteWriter& ByteWriter::u64(std::uint64_t value) { return append_little_endian(bytes_, value), *this; }
ByteWriter& ByteWriter::digest(const Digest& value) { return raw(std::as_bytes(std::span(value.bytes))); }
ByteWriter& ByteWriter::text(std::string_view value) { return blob(as_bytes_of(value)); }
ByteWriter& ByteWriter::blob(std::span<const std::byte> value) {
    return u32(static_cast<std::uint32_t>(value.size())).raw(value);
}
ByteWriter& ByteWriter::raw(std::span<const std::byte> value) {
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    return *this;
}

Error ByteReader::truncated(std::size_t wanted) const {
    return Error{Code::corrupt,
                 fmt::format("{} is truncated: {} bytes wanted at offset {}, {} left", what_, wanted, at_, remaining()),
                 {}};
}

Result<std::span<const std::byte>> ByteReader::raw(std::size_t bytes) {
    if (bytes > remaining()) return truncated(bytes);
    auto piece = bytes_.subspan(at_, bytes);
    at_ += bytes;
    return piece;
}

Result<std::uint16_t> ByteReader::begin_record(RecordKind kind) {
    WSYNC_TRY(auto found, raw(4));
    if (std::memcmp(found.data(), kind.kind.data(), 4) != 0) {
        return Error{Code::corrupt, fmt::format("{} does not begin with \"{}\"", what_, kind.kind), {}};
    }
    WSYNC_TRY(auto major, u16());
    WSYNC_TRY(auto minor, u16());
    if (major != kind.major) {
        return Error{Code::unsupported,
                     fmt::format("{} has format {}.{}, this wsync reads {}.x: upgrade the older side", what_, major, minor,
                                 kind.major),
                     {}};
    }
    return minor;
}

Result<std::uint8_t> ByteReader::u8() {
    return raw(1).transform([](auto&& b) { return load_little_endian<std::uint8_t>(b); });
}
Result<std::uint16_t> ByteReader::u16() {
    return raw(2).transform([](auto&& b) { return load_little_endian<std::uint16_t>(b); });
}
Result<std::uint32_t> ByteReader::u32() {
    return raw(4).transform([](auto&& b) { return load_little_endian<std::uint32_t>(b); });
}
Result<std::uint64_t> ByteReader::u64() {
    return raw(8).transform([](auto&& b) { return load_little_endian<std::uint64_t>(b); });
}
Result<Digest> ByteReader::digest() {
    WSYNC_TRY(auto piece, raw(16));
    Digest digest;
    std::memcpy(digest.bytes.data(), piece.data(), 16);
    return digest;
}
Result<std::span<const std::byte>> ByteReader::blob(std::size_t max_bytes) {
    WSYNC_TRY(auto size, u32());
    if (size > max_bytes) {
        return Error{Code::corrupt, fmt::format("{} holds a field of {} bytes, the limit is {}", what_, size, max_bytes), {}};
    }
    return raw(size);
}
Result<std::string> ByteReader::text(std::size_t max_bytes) {
    WSYNC_TRY(auto piece, blob(max_bytes));
    return std::string(reinterpret_cast<const char*>(piece.data()), piece.size());
}
Result<std::uint32_t> ByteReader::count(std::size_t min_bytes_each) {
    WSYNC_TRY(auto n, u32());
    if (min_bytes_each != 0 && n > remaining() / min_bytes_each) return truncated(std::size_t{n} * min_bytes_each);
    return n;
}
Status ByteReader::finish() const {
    if (remaining() == 0) return {};
    return Error{Code::corrupt, fmt::format("{} has {} bytes too many", what_, remaining()), {}};
}

}  // namespace wsync
