// What a process holds that a closed transport must have given back.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

namespace wsync::testing {

struct Holdings {
    std::map<std::string, std::string> descriptors;  // number -> what it is
    std::size_t threads = 0;
    std::size_t maps = 0;              // of memfds, and of files under `directory`
    std::uint64_t mapped_bytes = 0;    // of those maps

    friend bool operator==(const Holdings&, const Holdings&) = default;

    [[nodiscard]] static Holdings now(const std::string& directory) {
        namespace fs = std::filesystem;
        Holdings holdings;
        std::error_code ignored;
        for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
            const auto target = fs::read_symlink(entry.path(), ignored).string();
            // The iterator's own.
            if (!ignored && target.find("/proc/") != 0) holdings.descriptors[entry.path().filename()] = target;
        }
        for (const auto& entry : fs::directory_iterator("/proc/self/task")) holdings.threads += entry.exists() ? 1 : 0;
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);) {
            if (line.find("/memfd:") == std::string::npos && line.find(directory) == std::string::npos) continue;
            ++holdings.maps;
            const auto dash = line.find('-');
            holdings.mapped_bytes += std::stoull(line.substr(dash + 1), nullptr, 16) - std::stoull(line, nullptr, 16);
        }
        return holdings;
    }
    [[nodiscard]] std::string to_string() const {
        std::ostringstream out;
        out << threads << " threads, " << maps << " maps of " << mapped_bytes << " bytes, descriptors:";
        for (const auto& [number, target] : descriptors) out << ' ' << number << '=' << target;
        return out.str();
    }
};

// Whether this process comes to hold what it held `before`: a joined thread may still be on its way out.
inline bool settles_at(const Holdings& before, const std::string& directory) {
    for (int i = 0; i < 500; ++i) {
        if (Holdings::now(directory) == before) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

}  // namespace wsync::testing
