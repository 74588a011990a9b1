#include "measure/doctor.hpp"

#include "base/secret.hpp"
#include "memory/slab.hpp"
#include "transport/file/file_transport.hpp"
#include "transport/shm/shm_transport.hpp"
#include "transport/tcp/tcp_transport.hpp"

#include <cerrno>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/resource.h>

namespace wsync {
namespace {

// Exposes a small slab and reads it back through the transport itself.
Status try_transport(Transport& transport) {
    SlabOptions options;
    options.bytes = 1 << 20;
    options.huge_pages = false;
    WSYNC_TRY(auto slab, SharedSlab::make(options));
    const auto source = SharedSlab::region(slab);
    source.address[12345] = std::byte{0x5a};
    WSYNC_TRY(auto exposure, transport.expose(source, {}));
    WSYNC_TRY(auto channel, transport.attach(exposure->descriptor(), {}));
    std::vector<std::byte> memory(options.bytes);
    Region target;
    target.address = memory.data();
    target.bytes = memory.size();
    target.writable = true;
    Transfer transfer;
    transfer.local = &target;
    transfer.row_bytes = memory.size();
    WSYNC_TRY(auto accepted, channel->submit(std::span(&transfer, 1)));
    Completion completion;
    WSYNC_TRY(auto done, channel->wait(std::span(&completion, 1), std::chrono::seconds(5)));
    if (accepted != 1 || done != 1) return Error{Code::internal, "nothing was moved", {}};
    WSYNC_TRY_VOID(std::move(completion.status));
    return memory[12345] == std::byte{0x5a} ? Status{} : Status{Error{Code::corrupt, "other bytes arrived", {}}};
}

Finding transport_finding(std::string name, Result<std::unique_ptr<Transport>> made, std::string how, std::string remedy) {
    const auto tried = made ? try_transport(**made) : Status{made.error()};
    return {std::move(name), tried.has_value(), tried ? std::move(how) : tried.error().to_string(), tried ? "" : std::move(remedy)};
}

Finding library(const char* what, const char* file, const char* remedy) {
    void* handle = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return {what, true, std::string(file) + " can be loaded; wsync does not use it yet", ""};
    const char* why = ::dlerror();
    return {what, false, why != nullptr ? why : "not found", remedy};
}

Finding judge_descriptors() {
    rlimit files{};
    (void)::getrlimit(RLIMIT_NOFILE, &files);
    const bool enough = files.rlim_cur >= 1024;
    return {"descriptors", enough, fmt::format("RLIMIT_NOFILE {}", files.rlim_cur), enough ? "" : "ulimit -n 1024"};
}

Finding describe_files(const std::string& directory) {
    const auto engine = describe_file_engine(directory);
    if (!engine) return {"file", false, engine.error().to_string(), "name a directory that can be written with --dir"};
    return {"file", true, fmt::format("{} on {} ({})", engine->name(), engine->filesystem, engine->device),
            engine->reason.empty() ? "" : "for direct I/O: a local ext4 or xfs, io_uring not blocked by seccomp"};
}

}  // namespace

Result<std::vector<Finding>> examine_machine(const std::string& directory) {
    std::vector<Finding> findings;
    WSYNC_TRY(const auto secret, random_secret());
    std::string scratch = "/tmp/wsync-doctor-XXXXXX";
    if (::mkdtemp(scratch.data()) == nullptr) return errno_error(errno, "making a scratch directory in /tmp");
    ShmOptions shm;
    shm.socket_directory = scratch + "/s";
    shm.secret = secret;
    findings.push_back(transport_finding("shm", make_shm_transport(shm), "memfd over a Unix socket, sealed", "see the rows below"));
    TcpOptions tcp;
    tcp.secret = secret;
    findings.push_back(transport_finding("tcp", make_tcp_transport(tcp), "loopback", "check that sockets on 127.0.0.1 are allowed here"));
    std::error_code ignored;
    std::filesystem::remove_all(scratch, ignored);
    findings.push_back(describe_files(directory));
    findings.push_back(probe_descriptor_passing());
    findings.push_back(probe_pidfd());
    findings.push_back(probe_memfd_seals());
    findings.push_back(probe_huge_pages());
    findings.push_back(probe_congestion_control());
    findings.push_back(probe_io_uring());
    findings.push_back(probe_direct_io(directory));
    findings.push_back(judge_memory(memory_limit()));
    findings.push_back(judge_descriptors());
    findings.push_back(library("cuda", "libcuda.so.1", "an NVIDIA driver; without one, weights move through host memory"));
    findings.push_back(library("nccl", "libnccl.so.2", "NCCL; without it there are no collectives"));
    findings.push_back(library("ucx", "libucp.so.0", "UCX; without it, tcp is the way between hosts"));
    return findings;
}

}  // namespace wsync
