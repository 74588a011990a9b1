#include "transport/file/direct_support.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <liburing.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <system_error>
#include <unistd.h>

#include "wsync/base/unique_fd.hpp"

namespace wsync::file_transport {
namespace {

struct Magic {
    std::uint64_t number;
    std::string_view name;
    bool memory, network;
};
// From linux/magic.h and the file systems' own sources (statfs(2)).
constexpr std::array kMagics{
    Magic{0xEF53, "ext4", false, false},         Magic{0x58465342, "xfs", false, false},    Magic{0x9123683E, "btrfs", false, false},
    Magic{0x01021994, "tmpfs", true, false},     Magic{0x858458f6, "ramfs", true, false},   Magic{0x794c7630, "overlay", false, false},
    Magic{0x6969, "nfs", false, true},           Magic{0xFF534D42, "cifs", false, true},    Magic{0xFE534D42, "smb2", false, true},
    Magic{0x65735546, "fuse", false, true},      Magic{0x0BD00BD0, "lustre", false, true},  Magic{0x00C36400, "ceph", false, true},
    Magic{0x01021997, "9p", false, true},        Magic{0x2FC12FC1, "zfs", false, false},    Magic{0xF2F52010, "f2fs", false, false},
    Magic{0x47504653, "gpfs", false, true},      Magic{0x19830326, "beegfs", false, true},
};

// The mount table's words for a device number; empty where it is not there (btrfs has numbers of its own).
struct MountWords {
    std::string type, source;
};
MountWords mount_words(dev_t device) {
    const std::string wanted = fmt::format("{}:{}", major(device), minor(device));
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        std::istringstream words(line);
        std::string id, parent, number;
        words >> id >> parent >> number;
        if (number != wanted) continue;
        const auto dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        std::istringstream rest(line.substr(dash + 3));
        MountWords found;
        rest >> found.type >> found.source;
        return found;
    }
    return {};
}

std::string system_words(int number) { return std::generic_category().message(number); }

}  // namespace

FileSystemFacts filesystem_kind(int fd) {
    FileSystemFacts facts;
    struct statfs fs {};
    if (::fstatfs(fd, &fs) == 0) {
        const auto number = static_cast<std::uint64_t>(fs.f_type) & 0xFFFFFFFFu;
        const auto known = std::find_if(kMagics.begin(), kMagics.end(), [&](const Magic& m) { return m.number == number; });
        if (known != kMagics.end()) {
            facts.name = known->name;
            facts.memory = known->memory;
            facts.network = known->network;
        } else {
            facts.name = fmt::format("file system {:#x}", number);
        }
    }
    return facts;
}

FileSystemFacts filesystem_of(int fd) {
    FileSystemFacts facts = filesystem_kind(fd);
    struct stat st {};
    if (::fstat(fd, &st) == 0) {
        const auto words = mount_words(st.st_dev);
        if (!words.type.empty()) facts.name = words.type;  // ext2, ext3 and ext4 share a number
        facts.device = words.source;
        if (facts.device.empty()) facts.device = fmt::format("{}:{}", major(st.st_dev), minor(st.st_dev));
    }
    return facts;
}

DirectRules direct_rules(int fd, const FileSystemFacts& facts, DirectIo wanted) {
    DirectRules rules;
    if (wanted == DirectIo::never) {
        rules.reason = "O_DIRECT is switched off";
        return rules;
    }
    if (facts.memory) {
        rules.reason = fmt::format("{} has no device behind it", facts.name);  // newer kernels take O_DIRECT there, for nothing
        return rules;
    }
    if (facts.network && wanted == DirectIo::automatic) {
        rules.reason = fmt::format("{} is a network file system: buffered, many requests at a time", facts.name);
        return rules;
    }
    struct statx sx {};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 && (sx.stx_mask & STATX_DIOALIGN) != 0) {
        if (sx.stx_dio_offset_align == 0 || sx.stx_dio_mem_align == 0) {
            rules.reason = fmt::format("{} refuses O_DIRECT for this file", facts.name);
            return rules;
        }
        rules.block_bytes = std::max<std::uint64_t>(4096, sx.stx_dio_offset_align);
        rules.memory_alignment = sx.stx_dio_mem_align;
    } else {
        rules.memory_alignment = 4096;  // nobody says: what every file system takes
    }
    rules.possible = true;
    return rules;
}

std::string io_uring_obstacle() {
    io_uring ring{};
    const int error = ::io_uring_queue_init(2, &ring, 0);
    if (error == 0) {
        ::io_uring_queue_exit(&ring);
        return {};
    }
    switch (-error) {
        case ENOSYS: return "this kernel has no io_uring";
        case EPERM:
        case EACCES: return "io_uring is blocked here";
        default: return fmt::format("io_uring can't be set up: {}", system_words(-error));
    }
}

Result<FileEngineReport> choose_engine(const FileOptions& options, const FileSystemFacts& facts, const DirectRules& rules,
                                       const std::string& obstacle) {
    FileEngineReport report;
    report.filesystem = facts.name;
    report.device = facts.device;
    report.direct = rules.possible;
    report.engine = "threads";
    if (options.direct == DirectIo::always && !rules.possible) {
        return Error{Code::unsupported, fmt::format("O_DIRECT was asked for, but {}", rules.reason), {}};
    }
    if (!rules.possible) {
        // Buffered requests in io_uring are punted to the kernel's own threads and are slower than ours (docs/disk.md).
        if (options.engine == FileEngine::io_uring) {
            return Error{Code::unsupported, fmt::format("io_uring was asked for, but it is used with O_DIRECT only, and {}", rules.reason), {}};
        }
        report.reason = rules.reason;
        return report;
    }
    if (options.engine == FileEngine::threads) {
        report.reason = "io_uring is switched off";
        return report;
    }
    if (!obstacle.empty()) {
        if (options.engine == FileEngine::io_uring) return Error{Code::unsupported, fmt::format("io_uring was asked for, but {}", obstacle), {}};
        report.reason = obstacle;
        return report;
    }
    report.engine = "io_uring";
    return report;
}

}  // namespace wsync::file_transport

namespace wsync {

using namespace file_transport;

std::string FileEngineReport::name() const {
    std::string text = fmt::format("{}, {}", engine, direct ? "O_DIRECT" : "buffered");
    if (!reason.empty()) text += fmt::format(" ({})", reason);
    return text;
}

Result<FileEngineReport> describe_file_engine(const std::string& directory, const FileOptions& options) {
    UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!fd && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        std::string path = directory + "/.tmp-wsync-XXXXXX";
        fd.reset(::mkostemp(path.data(), O_CLOEXEC));
        if (fd) ::unlink(path.c_str());
    }
    if (!fd) return errno_error(errno, fmt::format("making a file in {}", directory));
    const auto facts = filesystem_of(fd.get());
    auto rules = direct_rules(fd.get(), facts, options.direct);
    if (rules.possible) {
        // The rules say what should work; one real request says what does.
        const int flags = ::fcntl(fd.get(), F_GETFL);
        void* block = nullptr;
        if (::posix_memalign(&block, rules.block_bytes, rules.block_bytes) != 0) return errno_error(ENOMEM, "a block for a trial write");
        std::memset(block, 0, rules.block_bytes);
        int error = 0;
        if (::fcntl(fd.get(), F_SETFL, flags | O_DIRECT) != 0 || ::pwrite(fd.get(), block, rules.block_bytes, 0) < 0) error = errno;
        std::free(block);
        if (error == ENOSPC || error == EDQUOT) return errno_error(error, fmt::format("writing {} bytes in {}", rules.block_bytes, directory));
        if (error != 0) {
            rules.possible = false;
            rules.reason = fmt::format("{} refuses O_DIRECT: {}", facts.name, system_words(error));
        }
    }
    return choose_engine(options, facts, rules, io_uring_obstacle());
}

}  // namespace wsync
