#include "memory/memory_limit.hpp"

#include "memory/memory_figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

namespace wsync {
namespace {

std::optional<std::string> read_text(const std::string& path) {
    std::ifstream file(path);
    if (!file) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(file), {});
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        auto end = std::min(text.find(at), text.size());
        parts.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

std::optional<std::uint64_t> number(std::string_view text) {
    auto begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return std::nullopt;
    text.remove_prefix(begin);
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{}) return std::nullopt;
    return value;
}

// The number behind "key" at the beginning of a line: "MemAvailable:  123 kB", "inactive_file 123".
std::optional<std::uint64_t> value_of(std::string_view text, std::string_view key) {
    for (auto line : split(text, '\n')) {
        if (line.starts_with(key) && line.size() > key.size() && (line[key.size()] == ' ' || line[key.size()] == '\t')) {
            return number(line.substr(key.size()));
        }
    }
    return std::nullopt;
}

// The kernel writes spaces in paths of mountinfo as octal escapes: \040.
std::string unescape(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
        if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
            plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

struct Hierarchy {
    bool v2 = false;
    std::string mount_root, mount_point;
};

// Where the memory controller can be looked up.
std::vector<Hierarchy> memory_hierarchies(std::string_view mountinfo) {
    std::vector<Hierarchy> found;
    for (auto line : split(mountinfo, '\n')) {
        auto dash = line.find(" - ");
        if (dash == std::string_view::npos) continue;
        auto before = split(line.substr(0, dash), ' ');
        auto after = split(line.substr(dash + 3), ' ');
        if (before.size() < 5 || after.size() < 3) continue;
        bool v2 = after[0] == "cgroup2";
        if (!v2) {
            if (after[0] != "cgroup") continue;
            auto options = split(after[2], ',');
            if (std::find(options.begin(), options.end(), "memory") == options.end()) continue;
        }
        found.push_back({v2, unescape(before[3]), unescape(before[4])});
    }
    return found;
}

// This process's group in a hierarchy.
std::optional<std::string> group_path(std::string_view cgroups, bool v2) {
    for (auto line : split(cgroups, '\n')) {
        auto first = line.find(':');
        auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
        if (second == std::string_view::npos) continue;
        auto id = line.substr(0, first);
        auto controllers = split(line.substr(first + 1, second - first - 1), ',');
        bool mine = v2 ? id == "0" && controllers.empty() : std::find(controllers.begin(), controllers.end(), "memory") != controllers.end();
        if (mine) return std::string(line.substr(second + 1));
    }
    return std::nullopt;
}

// The group's path below the mount point. A group outside what is mounted (a container that sees its own group as the
// mount's root) is the mount point itself.
std::string below_mount(const std::string& group, const std::string& mount_root) {
    if (group.find("..") != std::string::npos) return "";
    if (mount_root == "/") return group == "/" ? "" : group;
    if (group == mount_root) return "";
    if (group.starts_with(mount_root + "/")) return group.substr(mount_root.size());
    return "";
}

// What one group leaves. Cached file pages are the kernel's to drop, so they do not count as used.
void consider_group(const std::string& root, const std::string& directory, bool v2, std::optional<MemoryLimit>& least) {
    auto stat = read_text(root + directory + "/memory.stat").value_or("");
    auto cached = value_of(stat, v2 ? "inactive_file" : "total_inactive_file").value_or(0);
    auto used_text = read_text(root + directory + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    auto used = used_text ? number(*used_text) : std::nullopt;
    if (!used) return;
    auto held = *used - std::min(*used, cached);
    for (std::string_view file : v2 ? std::vector<std::string_view>{"memory.max", "memory.high"} : std::vector<std::string_view>{"memory.limit_in_bytes"}) {
        auto path = directory + "/" + std::string(file);
        auto text = read_text(root + path);
        auto most = text ? number(*text) : std::nullopt;  // "max" is no number
        if (!most) continue;
        auto left = *most - std::min(*most, held);
        if (!least || left < least->available_bytes) least = MemoryLimit{left, *most, path};
    }
}

std::string gigabytes(std::uint64_t bytes) { return fmt::format("{:.1f} GB", static_cast<double>(bytes) / 1e9); }

}  // namespace

Result<MemoryLimit> memory_limit_under(const std::string& root) {
    std::optional<MemoryLimit> least;
    if (auto text = read_text(root + "/proc/meminfo")) {
        const auto total = value_of(*text, "MemTotal:").value_or(0) * 1024;
        if (auto kilobytes = value_of(*text, "MemAvailable:")) least = MemoryLimit{*kilobytes * 1024, total, "MemAvailable"};
    }
    auto cgroups = read_text(root + "/proc/self/cgroup").value_or("");
    for (const auto& hierarchy : memory_hierarchies(read_text(root + "/proc/self/mountinfo").value_or(""))) {
        auto group = group_path(cgroups, hierarchy.v2);
        if (!group) continue;
        auto below = below_mount(*group, hierarchy.mount_root);
        for (;;) {
            consider_group(root, hierarchy.mount_point + below, hierarchy.v2, least);
            if (below.empty()) break;
            below.resize(below.rfind('/') == std::string::npos ? 0 : below.rfind('/'));
        }
    }
    if (!least) return Error{Code::unsupported, "neither /proc/meminfo nor a memory cgroup says how much memory is left; mount /proc"};
    return *std::move(least);
}

Status check_memory_under(const std::string& root, std::uint64_t bytes, std::string_view what) {
    WSYNC_TRY(auto limit, memory_limit_under(root));
    if (bytes <= limit.available_bytes) return {};
    return Error{Code::resource_exhausted,
                 fmt::format("need {} for {}, {} are left (set by {})", gigabytes(bytes), what, gigabytes(limit.available_bytes), limit.set_by)};
}

Result<KernelMemory> kernel_memory_under(const std::string& root) {
    auto text = read_text(root + "/proc/self/status");
    if (!text) return Error{Code::unsupported, "/proc/self/status can't be read; mount /proc"};
    auto bytes = [&](std::string_view key) { return value_of(*text, key).value_or(0) * 1024; };
    return KernelMemory{bytes("RssAnon:"), bytes("RssShmem:"), bytes("RssFile:"), bytes("VmPTE:")};
}

Result<MemoryLimit> memory_limit() { return memory_limit_under(""); }
Status check_memory(std::uint64_t bytes, std::string_view what) { return check_memory_under("", bytes, what); }
Result<KernelMemory> kernel_memory() { return kernel_memory_under(""); }

}  // namespace wsync
