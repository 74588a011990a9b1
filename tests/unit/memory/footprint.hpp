// What a process holds: descriptors, maps, threads, memfd bytes. Equal before and after means that nothing was left.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <ostream>
#include <string>
#include <sys/stat.h>
#include <thread>

namespace wsync::testing {

struct Footprint {
    std::size_t descriptors = 0, slab_maps = 0, threads = 0;
    std::uint64_t memfd_bytes = 0, mapped_memfd_bytes = 0;
    friend bool operator==(const Footprint&, const Footprint&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Footprint& print) {
        return out << print.descriptors << " descriptors, " << print.slab_maps << " maps of memfds, " << print.threads << " threads, " << print.memfd_bytes
                   << " memfd bytes open, " << print.mapped_memfd_bytes << " mapped";
    }

    static Footprint now() {
        namespace fs = std::filesystem;
        Footprint print;
        for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
            ++print.descriptors;
            std::error_code ignored;
            if (fs::read_symlink(entry.path(), ignored).string().starts_with("/memfd:")) {
                struct stat status {};
                if (::stat(entry.path().c_str(), &status) == 0) print.memfd_bytes += static_cast<std::uint64_t>(status.st_size);
            }
        }
        for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/task")) ++print.threads;
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);) {
            if (line.find("/memfd:") == std::string::npos) continue;
            ++print.slab_maps;
            auto dash = line.find('-');
            print.mapped_memfd_bytes += std::stoull(line.substr(dash + 1), nullptr, 16) - std::stoull(line, nullptr, 16);
        }
        return print;
    }

    // As it stays: a joined thread is listed a moment longer, and the kernel ends a closed ring's workers (iou-wrk) in its
    // own time. What was left behind for good is in it.
    static Footprint settled() {
        auto print = now();
        for (int same = 0, i = 0; same < 5 && i < 500; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
            const auto next = now();
            same = next == print ? same + 1 : 0;
            print = next;
        }
        return print;
    }
};

// What the process holds once it has come back to what it held `before`, or after 5 seconds: a leak never comes back.
inline Footprint settled_at(const Footprint& before) {
    auto print = Footprint::now();
    for (int i = 0; i < 500 && print != before; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        print = Footprint::now();
    }
    return print;
}

// ShmemPmdMapped of the map that contains `address`.
inline std::optional<std::uint64_t> huge_shmem_bytes_at(const void* address) {
    auto wanted = reinterpret_cast<std::uintptr_t>(address);
    std::ifstream maps("/proc/self/smaps");
    bool inside = false;
    for (std::string line; std::getline(maps, line);) {
        if (auto dash = line.find('-'); dash != std::string::npos && line.find(':') > dash) {
            inside = std::stoull(line, nullptr, 16) <= wanted && wanted < std::stoull(line.substr(dash + 1), nullptr, 16);
        } else if (inside && line.starts_with("ShmemPmdMapped:")) {
            return std::stoull(line.substr(15)) * 1024;
        }
    }
    return std::nullopt;
}

inline std::uint64_t kernel_shmem() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("RssShmem:")) return std::stoull(line.substr(9)) * 1024;
    }
    return 0;
}

}  // namespace wsync::testing
