// A test's fresh folder, and whole files in it.
#pragma once

#include "temporary_directory.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <unistd.h>

namespace wsync::testing {

// Where an fsync costs nothing, if there is such a place.
[[nodiscard]] inline std::string memory_folder() {
    return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path().string();
}

[[nodiscard]] inline std::string read_whole_file(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();  // in blocks: an iterator over characters is slow where nothing is optimised
    return std::move(text).str();
}

inline void write_whole_file(const std::string& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace wsync::testing
