// What every record and frame must refuse, and what it must read: the version rule, lengths, any change of any byte.
#pragma once

#include "golden_file.hpp"
#include "result_matchers.hpp"

#include "base/bytes.hpp"

#include <algorithm>

namespace wsync::testing {

[[nodiscard]] inline Bytes golden_record_bytes(const std::string& name) {
    const auto text = golden_bytes(name);
    const auto bytes = as_bytes_of(text);
    return {bytes.begin(), bytes.end()};
}

// Cut anywhere, or followed by something.
template <class Decode>
void refuses_another_length(const Bytes& bytes, Decode decode) {
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        EXPECT_THAT(decode(std::span(bytes).first(length)), HasCode(Code::corrupt)) << length << " of " << bytes.size();
    }
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_THAT(decode(std::span<const std::byte>(longer)), HasCode(Code::corrupt));
}

// The record's kind is at `at`: a newer minor may have appended something, a major newer than `newest` is refused, naming
// both sides.
template <class Decode>
void follows_the_version_rule(const Bytes& bytes, std::size_t at, Decode decode, int newest = 1) {
    Bytes changed = bytes;
    changed.push_back(std::byte{0});
    changed[at + 6] = std::byte{9};
    EXPECT_OK(decode(std::span<const std::byte>(changed)));
    changed.pop_back();
    EXPECT_OK(decode(std::span<const std::byte>(changed)));
    changed[at + 4] = static_cast<std::byte>(newest + 1);
    EXPECT_THAT(decode(std::span<const std::byte>(changed)), HasError(Code::unsupported, std::to_string(newest + 1) + ".9"));
    EXPECT_THAT(decode(std::span<const std::byte>(changed)), HasError(Code::unsupported, "reads " + std::to_string(newest) + ".x"));
    changed[at + 4] = std::byte{0};
    EXPECT_THAT(decode(std::span<const std::byte>(changed)), HasError(Code::unsupported, "0.9"));
    changed[at] = std::byte{'X'};
    EXPECT_THAT(decode(std::span<const std::byte>(changed)), HasCode(Code::corrupt));
}

// Every value of every byte: a value that encodes to those bytes again, or an Error.
template <class Decode, class Encode>
void survives_every_change(const Bytes& bytes, Decode decode, Encode encode, std::span<const std::size_t> minors) {
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (int change = 1; change < 256; ++change) {
            Bytes changed = bytes;
            changed[at] ^= static_cast<std::byte>(change);
            const auto decoded = decode(std::span<const std::byte>(changed));
            if (!decoded.has_value()) {
                ASSERT_TRUE(decoded.error().code == Code::corrupt || decoded.error().code == Code::unsupported) << decoded.error().to_string();
                continue;
            }
            Bytes again = encode(*decoded);
            // A record's minor is its writer's.
            for (const auto kind : minors) std::copy_n(changed.begin() + static_cast<std::ptrdiff_t>(kind + 6), 2, again.begin() + static_cast<std::ptrdiff_t>(kind + 6));
            ASSERT_EQ(again, changed) << "byte " << at;
        }
    }
}

}  // namespace wsync::testing
