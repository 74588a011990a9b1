#include "measure/bench.hpp"
#include "memory/memory_limit.hpp"
#include "memory/slab.hpp"
#include "transport/file/file_transport.hpp"
#include "transport/shm/shm_transport.hpp"
#include "transport/tcp/tcp_transport.hpp"
#include "verb.hpp"
#include "wsync/report/table.hpp"
#include "wsync/report/units.hpp"

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/resource.h>

namespace wsync::tool {
namespace {

struct Arguments {
    std::string directory = ".";
    bool json = false;
};

struct Finding {
    std::string what;
    bool ok = false;
    std::string how;     // what was found, or why not
    std::string remedy;
};

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

Result<std::vector<Finding>> examine(const Arguments& arguments) {
    std::vector<Finding> findings;
    WSYNC_TRY(const auto secret, random_secret());
    std::string scratch = "/tmp/wsync-doctor-XXXXXX";
    if (::mkdtemp(scratch.data()) == nullptr) return errno_error(errno, "making a scratch directory in /tmp");
    ShmOptions shm;
    shm.socket_directory = scratch + "/s";
    shm.secret = secret;
    findings.push_back(transport_finding("shm", make_shm_transport(shm), "memfd over a Unix socket, sealed", "check that memfd_create and Unix sockets are allowed here"));
    TcpOptions tcp;
    tcp.secret = secret;
    findings.push_back(transport_finding("tcp", make_tcp_transport(tcp), "loopback", "check that sockets on 127.0.0.1 are allowed here"));
    std::error_code ignored;
    std::filesystem::remove_all(scratch, ignored);

    auto engine = describe_file_engine(arguments.directory);
    if (engine) {
        findings.push_back({"file", true, fmt::format("{} on {} ({})", engine->name(), engine->filesystem, engine->device),
                            engine->reason.empty() ? "" : "for direct I/O: a local ext4 or xfs, io_uring not blocked by seccomp"});
    } else {
        findings.push_back({"file", false, engine.error().to_string(), "name a directory that can be written with --dir"});
    }
    SlabOptions huge;
    huge.bytes = 4 << 20;
    auto slab = SharedSlab::make(huge);
    const bool has_huge = slab && (*slab)->huge();
    findings.push_back({"huge pages", has_huge, has_huge ? "2 MiB pages in slabs (MADV_COLLAPSE)" : "slabs have 4 KiB pages: maps cost about 100 ms a GiB more",
                        has_huge ? "" : "a kernel of 6.1 or newer with shmem collapse"});
    auto limit = memory_limit();
    findings.push_back({"memory", limit.has_value(), limit ? fmt::format("{} left, set by {}", show_bytes(limit->available_bytes), limit->set_by) : limit.error().to_string(), ""});
    rlimit files{};
    (void)::getrlimit(RLIMIT_NOFILE, &files);
    findings.push_back({"descriptors", files.rlim_cur >= 1024, fmt::format("RLIMIT_NOFILE {}", files.rlim_cur), files.rlim_cur >= 1024 ? "" : "ulimit -n 1024"});
    findings.push_back(library("cuda", "libcuda.so.1", "an NVIDIA driver; without one, weights move through host memory"));
    findings.push_back(library("nccl", "libnccl.so.2", "NCCL; without it there are no collectives"));
    findings.push_back(library("ucx", "libucp.so.0", "UCX; without it, tcp is the way between hosts"));
    return findings;
}

Status doctor(const Arguments& arguments) {
    WSYNC_TRY(auto findings, examine(arguments));
    Json document{{"schema", "wsync.doctor/1"}, {"machine", describe_machine()}, {"findings", Json::array()}};
    Table table({{"what"}, {"works"}, {"how, or why not"}, {"what to do"}});
    for (const auto& finding : findings) {
        document["findings"].push_back({{"what", finding.what}, {"ok", finding.ok}, {"how", finding.how}, {"remedy", finding.remedy}});
        table.add({finding.what, finding.ok ? "yes" : "no", finding.how, finding.remedy});
    }
    if (arguments.json) {
        fmt::print("{}\n", document.dump(2));
    } else {
        fmt::print("{}\n{}", describe_machine(), table.render());
    }
    return {};
}

}  // namespace

void add_doctor(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("--dir", arguments->directory, "where files would be written")->capture_default_str();
    command.add_flag("--json", arguments->json, "print the document wsync.doctor/1");
    command.callback([arguments, &run] { run = [arguments] { return doctor(*arguments); }; });
}

}  // namespace wsync::tool
