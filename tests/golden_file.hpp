// Golden bytes: files under tests/golden that hold what a format looks like.
//
// A test that compares never writes them. They are made by hand or by a program that is not the code under test.
#pragma once

#include "scratch_folder.hpp"

#include <gtest/gtest.h>
#include <span>
#include <string>

namespace wsync::testing {

[[nodiscard]] inline std::string golden_path(const std::string& name) { return std::string(WSYNC_SOURCE_DIR) + "/tests/golden/" + name; }

[[nodiscard]] inline std::string hex_of(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        text += kDigits[static_cast<unsigned char>(c) >> 4];
        text += kDigits[static_cast<unsigned char>(c) & 15];
    }
    return text;
}

[[nodiscard]] inline std::string golden_bytes(const std::string& name) {
    auto bytes = read_whole_file(golden_path(name));
    EXPECT_FALSE(bytes.empty()) << golden_path(name) << " is missing";
    return bytes;
}

inline void expect_golden(const std::string& name, std::span<const std::byte> bytes) {
    EXPECT_EQ(hex_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()}), hex_of(golden_bytes(name))) << golden_path(name);
}
inline void expect_golden_text(const std::string& name, std::string_view text) { EXPECT_EQ(text, golden_bytes(name)) << golden_path(name); }

}  // namespace wsync::testing
