#include "measure/mapped_page.hpp"

#include "wsync/base/unique_fd.hpp"

#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Newer than some libcs' headers.
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace wsync {
namespace {

constexpr std::uint64_t kFramePresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kFrameMask = (std::uint64_t{1} << 55) - 1;

struct Row {
    std::uint64_t begin = 0, end = 0, offset = 0, inode = 0;
    char permissions[8] = {}, device[16] = {};
    int name = 0;
};

}  // namespace

Result<MappedPage> mapped_page(const void* address) {
    const auto wanted = reinterpret_cast<std::uint64_t>(address);
    std::ifstream maps("/proc/self/maps");
    if (!maps) return errno_error(errno, "opening /proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        Row row;
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %15s %" SCNu64 " %n", &row.begin, &row.end, row.permissions, &row.offset,
                        row.device, &row.inode, &row.name) < 6)
            continue;
        if (wanted < row.begin || wanted >= row.end) continue;
        MappedPage page;
        page.address = wanted;
        page.map_begin = row.begin;
        page.file_offset = row.offset + (wanted - row.begin);
        page.permissions = row.permissions;
        page.device = row.device;
        page.inode = row.inode;
        if (row.name > 0 && static_cast<std::size_t>(row.name) < line.size()) page.object = line.substr(static_cast<std::size_t>(row.name));
        return page;
    }
    return Error{Code::not_found, fmt::format("nothing is mapped at {:#x} in this process", wanted), {}};
}

std::optional<std::uint64_t> physical_frame(const void* address) {
    const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    const auto at = reinterpret_cast<std::uint64_t>(address) / page_bytes * sizeof(std::uint64_t);
    std::uint64_t entry = 0;
    if (pagemap.get() < 0 || ::pread(pagemap.get(), &entry, sizeof entry, static_cast<off_t>(at)) != static_cast<ssize_t>(sizeof entry)) return std::nullopt;
    // Frame 0 is what the unprivileged are shown.
    if ((entry & kFramePresent) == 0 || (entry & kFrameMask) == 0) return std::nullopt;
    return entry & kFrameMask;
}

Result<std::vector<std::string>> seals_of(const MappedPage& page) {
    static constexpr std::pair<int, const char*> kSeals[] = {
        {F_SEAL_SHRINK, "shrink"}, {F_SEAL_GROW, "grow"}, {F_SEAL_WRITE, "write"}, {F_SEAL_FUTURE_WRITE, "future_write"}, {F_SEAL_SEAL, "seal"}};
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), ::closedir);
    if (folder == nullptr) return errno_error(errno, "listing /proc/self/fd");
    while (const auto* entry = ::readdir(folder.get())) {
        const std::string_view name(entry->d_name);
        int fd = -1;
        if (std::from_chars(name.data(), name.data() + name.size(), fd).ec != std::errc{}) continue;
        struct stat status {};
        if (::fstat(fd, &status) != 0 || status.st_ino != page.inode) continue;
        const int seals = ::fcntl(fd, F_GET_SEALS);
        if (seals < 0) continue;  // a file of another device with the same number
        std::vector<std::string> names;
        for (const auto& [bit, seal] : kSeals)
            if ((seals & bit) != 0) names.emplace_back(seal);
        return names;
    }
    return Error{Code::not_found, fmt::format("this process has no descriptor of inode {} ({})", page.inode, page.object), {}};
}

}  // namespace wsync
