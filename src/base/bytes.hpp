// Little-endian records: one writer and one bounded reader for every frame, control record and blob.
//
// Every record begins with a four-character kind and a major.minor (begin_record): an unknown minor is read, an
// unknown major refused, naming both sides. The reader never trusts a length: a count or a string longer than what is
// left is Error{corrupt}, and nothing is allocated before the bytes for it are known to be there.
#pragma once

#include "wsync/base/digest.hpp"
#include "wsync/base/result.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

using Bytes = std::vector<std::byte>;

[[nodiscard]] inline std::span<const std::byte> as_bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// A format's name and version. `kind` has exactly four characters.
struct RecordKind {
    std::string_view kind;
    std::uint16_t major = 1;
    std::uint16_t minor = 0;
};

class ByteWriter {
public:
    ByteWriter& begin_record(RecordKind kind);
    ByteWriter& u8(std::uint8_t value);
    ByteWriter& u16(std::uint16_t value);
    ByteWriter& u32(std::uint32_t value);
    ByteWriter& u64(std::uint64_t value);
    ByteWriter& digest(const Digest& value);
    // Length (u32), then the bytes.
    ByteWriter& text(std::string_view value);
    ByteWriter& blob(std::span<const std::byte> value);
    // The bytes alone.
    ByteWriter& raw(std::span<const std::byte> value);

    [[nodiscard]] std::span<const std::byte> view() const { return bytes_; }
    [[nodiscard]] Bytes take() { return std::move(bytes_); }

private:
    Bytes bytes_;
};

class ByteReader {
public:
    // `what` names the record in errors ("version record"); it and the bytes are borrowed.
    ByteReader(std::span<const std::byte> bytes, std::string_view what) : bytes_(bytes), what_(what) {}

    // The minor that was found. Error{corrupt} for another kind, Error{unsupported} for another major.
    Result<std::uint16_t> begin_record(RecordKind kind);
    Result<std::uint8_t> u8();
    Result<std::uint16_t> u16();
    Result<std::uint32_t> u32();
    Result<std::uint64_t> u64();
    Result<Digest> digest();
    Result<std::string> text(std::size_t max_bytes = 64 * 1024);
    Result<std::span<const std::byte>> blob(std::size_t max_bytes);
    Result<std::span<const std::byte>> raw(std::size_t bytes);
    // A count of things of at least `min_bytes_each` that follow: refused when they can't fit in what is left.
    Result<std::uint32_t> count(std::size_t min_bytes_each);

    [[nodiscard]] std::size_t remaining() const { return bytes_.size() - at_; }
    // Error{corrupt} when bytes are left over (same minor only; a newer minor may append).
    Status finish() const;

private:
    [[nodiscard]] Error truncated(std::size_t wanted) const;
    std::span<const std::byte> bytes_;
    std::string_view what_;
    std::size_t at_ = 0;
};

}  // namespace wsync
