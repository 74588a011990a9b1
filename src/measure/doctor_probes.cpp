#include "measure/doctor_probes.hpp"

#include "base/process.hpp"
#include "memory/slab.hpp"
#include "transport/file/direct_support.hpp"
#include "transport/wire/stream.hpp"
#include "wsync/report/units.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <liburing.h>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

constexpr std::size_t kPage = 4096;
constexpr auto kPatience = std::chrono::seconds(2);
constexpr std::uint64_t kLittleMemory = std::uint64_t{256} << 20;  // slabs aside, each side may take 80 MiB

Finding no(std::string what, const Error& error, std::string remedy) { return {std::move(what), false, error.message, std::move(remedy)}; }
Finding no(std::string what, int errno_value, std::string_view doing, std::string remedy) { return no(std::move(what), errno_error(errno_value, doing), std::move(remedy)); }

// The first line of a file of the kernel's; empty where there is none.
std::string line_of(const char* path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

// A filter of system calls, as a container's runtime sets one.
bool is_filtered() {
    std::ifstream in("/proc/self/status");
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("Seccomp:")) return line.find('2') != std::string::npos;
    return false;
}

std::string congestion_control_of(int fd) {
    std::array<char, 16> name{};
    socklen_t size = name.size();
    if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) != 0) return "unknown";
    return {name.data(), ::strnlen(name.data(), size)};
}

Result<UniqueFd> sealable(std::size_t bytes) {
    UniqueFd fd(::memfd_create("wsync-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) return errno_error(errno, "memfd_create");
    rlimit limit{};  // past it the kernel would kill the process
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes) {
        return Error{Code::resource_exhausted, fmt::format("RLIMIT_FSIZE is {}, less than a page", limit.rlim_cur), {}};
    }
    if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return errno_error(errno, "sizing a memfd");
    return fd;
}

struct Unmap {
    std::size_t bytes;
    void operator()(void* address) const { ::munmap(address, bytes); }
};
using Map = std::unique_ptr<void, Unmap>;

Map map(int fd, int protection, std::size_t bytes) {
    void* address = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
    return {address == MAP_FAILED ? nullptr : address, Unmap{bytes}};
}

// What stands in the way of io_uring, in words that say who put it there.
std::string io_uring_reason(int error) {
    if (error == ENOSYS) return is_filtered() ? "io_uring_setup is refused as unknown: by a seccomp filter, or by a kernel without it" : "this kernel has no io_uring";
    if (error == ENOMEM) return "io_uring_setup: no memory may be locked for it (RLIMIT_MEMLOCK)";
    const auto disabled = line_of("/proc/sys/kernel/io_uring_disabled");
    if ((error == EPERM || error == EACCES) && (disabled == "1" || disabled == "2")) return fmt::format("kernel.io_uring_disabled is {}", disabled);
    if ((error == EPERM || error == EACCES) && is_filtered()) return "io_uring_setup is blocked by a seccomp filter (a container's default)";
    return errno_error(error, "setting up io_uring").message;
}

}  // namespace

Finding probe_congestion_control() {
    const std::string what = "congestion control";
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) return no(what, errno, "making a TCP socket", "allow IPv4 sockets");
    const auto usual = congestion_control_of(socket.get());
    const auto available = line_of("/proc/sys/net/ipv4/tcp_available_congestion_control");
    const bool reno = ::setsockopt(socket.get(), IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0 && congestion_control_of(socket.get()) == "reno";
    auto how = fmt::format("{} in use, {} on loopback; available: {}", usual, reno ? "reno" : usual, available.empty() ? "unknown" : available);
    return {what, reno, std::move(how), reno ? "" : "sysctl -w net.ipv4.tcp_allowed_congestion_control=\"... reno\": others pace a loopback connection for nothing"};
}

Finding probe_descriptor_passing() {
    const std::string what = "descriptors over a socket", remedy = "allow Unix sockets, SCM_RIGHTS and memfd_create, and more descriptors (ulimit -n); without them: tcp";
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return no(what, errno, "making a pair of Unix sockets", remedy);
    Stream near(UniqueFd(ends[0]), {.name = "itself"}), far(UniqueFd(ends[1]), {.name = "itself"});
    const auto tried = [&]() -> Status {
        WSYNC_TRY(const auto sent, sealable(kPage));
        std::array<std::byte, 1> payload{};
        const std::array<int, 1> passed{sent.get()};
        WSYNC_TRY_VOID(near.send_fds(payload, passed, Deadline(kPatience)));
        WSYNC_TRY(const auto taken, far.receive_fds(payload, 1, Deadline(kPatience)));
        if (taken.size() != 1) return Error{Code::corrupt, "the message came without its descriptor", {}};
        struct stat one {}, other {};
        if (::fstat(sent.get(), &one) != 0 || ::fstat(taken[0].get(), &other) != 0 || one.st_ino != other.st_ino) return Error{Code::corrupt, "another file arrived", {}};
        ucred peer{};
        socklen_t size = sizeof peer;
        if (::getsockopt(far.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return errno_error(errno, "asking who the peer is (SO_PEERCRED)");
        if (peer.uid != ::geteuid()) return Error{Code::corrupt, fmt::format("SO_PEERCRED says uid {}, this is {}", peer.uid, ::geteuid()), {}};
        return {};
    }();
    if (!tried) return no(what, tried.error(), remedy);
    return {what, true, "a memfd by SCM_RIGHTS, the peer known by SO_PEERCRED", ""};
}

Finding probe_pidfd() {
    const std::string what = "pidfd", remedy = "a kernel of 5.3 or newer, pidfd_open allowed; without it a dead peer is noticed late";
    const auto self = current_process();
    if (!self) return no(what, self.error(), "mount /proc");
    const auto fd = open_pidfd(*self);
    if (!fd) return no(what, fd.error(), remedy);
    pollfd polled{fd->get(), POLLIN, 0};
    if (::poll(&polled, 1, 0) != 0) return {what, false, "a pidfd of this process says that it is dead", remedy};
    return {what, true, "a peer's death is seen at once, whatever its children keep open", ""};
}

Finding probe_memfd_seals() {
    const std::string what = "memfd seals", remedy = "a kernel of 5.1 or newer, memfd_create and F_ADD_SEALS allowed; without them: tcp or disk";
    const auto tried = [&]() -> Status {
        WSYNC_TRY(const auto fd, sealable(kPage));
        const auto own = map(fd.get(), PROT_READ | PROT_WRITE, kPage);
        if (!own) return errno_error(errno, "mapping a memfd");
        if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) != 0) return errno_error(errno, "sealing a memfd (SHRINK, GROW, FUTURE_WRITE)");
        static_cast<char*>(own.get())[0] = 'w';
        const auto read = map(fd.get(), PROT_READ, kPage);
        if (!read || static_cast<const char*>(read.get())[0] != 'w') return Error{Code::corrupt, "a reader of a sealed memfd does not see what its owner writes", {}};
        if (map(fd.get(), PROT_READ | PROT_WRITE, kPage)) return Error{Code::unsupported, "a memfd sealed with FUTURE_WRITE can be mapped writable", {}};
        // The rlimit was looked at: a page fits, and a seal refuses before any limit.
        if (::ftruncate(fd.get(), 0) == 0) return Error{Code::unsupported, "a memfd sealed with SHRINK can be cut", {}};
        return {};
    }();
    if (!tried) return no(what, tried.error(), remedy);
    return {what, true, "SHRINK, GROW and FUTURE_WRITE hold: receivers can neither write nor be cut off", ""};
}

Finding probe_huge_pages() {
    const std::string what = "huge pages";
    SlabOptions options;
    options.bytes = 4 << 20;
    const auto slab = SharedSlab::make(options);
    const auto enabled = line_of("/sys/kernel/mm/transparent_hugepage/enabled");
    const auto settings = fmt::format("transparent_hugepage/enabled: {}", enabled.empty() ? "none" : enabled);
    if (!slab) return no(what, slab.error(), "room for a slab of 4 MiB");
    if ((*slab)->huge()) return {what, true, fmt::format("2 MiB pages in slabs (MADV_COLLAPSE of a memfd); {}", settings), ""};
    return {what, false, fmt::format("MADV_COLLAPSE of a memfd gives 4 KiB pages: maps cost about 100 ms a GiB more; {}", settings),
            "a kernel of 6.1 or newer with shmem collapse, huge pages not switched off for this process (PR_SET_THP_DISABLE)"};
}

Finding probe_io_uring() {
    const std::string what = "io_uring", remedy = "sysctl kernel.io_uring_disabled=0, or a seccomp profile that allows io_uring; threads do its work meanwhile";
    io_uring ring{};
    if (const int error = ::io_uring_queue_init(2, &ring, 0); error != 0) return {what, false, io_uring_reason(-error), remedy};
    const std::unique_ptr<io_uring, void (*)(io_uring*)> owner(&ring, &::io_uring_queue_exit);
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring);
    ::io_uring_prep_nop(entry);
    io_uring_cqe* done = nullptr;
    int error = ::io_uring_submit(&ring);
    if (error == 1) error = ::io_uring_wait_cqe(&ring, &done);
    if (error < 0 || done == nullptr) return no(what, error < 0 ? -error : EIO, "submitting to io_uring", remedy);
    return {what, true, "a request went through it", ""};
}

Finding probe_direct_io(const std::string& directory) {
    const std::string what = "O_DIRECT";
    UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!fd && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        std::string path = directory + "/.tmp-wsync-XXXXXX";
        fd.reset(::mkostemp(path.data(), O_CLOEXEC));
        if (fd) ::unlink(path.c_str());
    }
    if (!fd) return no(what, errno, fmt::format("making a file in {}", directory), "name a directory that can be written with --dir");
    const auto facts = file_transport::filesystem_of(fd.get());
    const auto where = fmt::format("{} ({})", facts.name, facts.device);
    const std::string remedy = "a local ext4 or xfs; reads and writes go through the page cache meanwhile";
    const auto flags = ::fcntl(fd.get(), F_GETFL);
    if (::fcntl(fd.get(), F_SETFL, flags | O_DIRECT) != 0) return no(what, errno, fmt::format("opening a file on {} with O_DIRECT", where), remedy);
    const auto rules = file_transport::direct_rules(fd.get(), {}, DirectIo::always);
    if (!rules.possible) return {what, false, fmt::format("{}: {}", where, rules.reason), remedy};
    const std::unique_ptr<void, void (*)(void*)> block(std::aligned_alloc(rules.block_bytes, rules.block_bytes), &std::free);
    if (!block) return no(what, ENOMEM, "a block for a trial write", "more memory");
    std::memset(block.get(), 'w', rules.block_bytes);
    const auto bytes = static_cast<ssize_t>(rules.block_bytes);
    if (::pwrite(fd.get(), block.get(), rules.block_bytes, 0) != bytes) return no(what, errno, fmt::format("writing {} bytes to {} with O_DIRECT", bytes, where), remedy);
    std::memset(block.get(), 0, rules.block_bytes);
    if (::pread(fd.get(), block.get(), rules.block_bytes, 0) != bytes || static_cast<const char*>(block.get())[bytes - 1] != 'w') {
        return no(what, errno, fmt::format("reading {} bytes from {} with O_DIRECT", bytes, where), remedy);
    }
    if (facts.memory) return {what, true, fmt::format("{} takes it, and has no device behind it: what is written there takes memory", where), ""};
    return {what, true, fmt::format("{}, in blocks of {} bytes", where, bytes), ""};
}

Finding judge_memory(const Result<MemoryLimit>& limit) {
    const std::string what = "memory";
    if (!limit) return no(what, limit.error(), "mount /proc");
    const bool group = limit->set_by != "MemAvailable";
    auto how = group ? fmt::format("{} left of the {} that {} allows", show_bytes(limit->available_bytes), show_bytes(limit->limit_bytes), limit->set_by)
                     : fmt::format("{} left of {} (MemAvailable); no memory cgroup allows less", show_bytes(limit->available_bytes), show_bytes(limit->limit_bytes));
    const bool enough = limit->available_bytes >= kLittleMemory;
    return {what, enough, std::move(how), enough ? "" : group ? "raise the memory cgroup's limit (docker --memory, MemoryMax=, resources.limits.memory)" : "end what takes the memory, or take a smaller model"};
}

}  // namespace wsync
