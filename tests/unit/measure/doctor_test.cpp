// Each question of the doctor: answered as the machine is, and with no where it is made to fail.
#include "measure/doctor.hpp"

#include "child_process.hpp"
#include "memory/memory_figures.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"
#include "wsync/base/unique_fd.hpp"

#include <algorithm>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

namespace wsync {
namespace {

using testing::ChildProcess;
using ::testing::HasSubstr;

// Asks in a process whose surroundings `spoil` has changed; its answer comes back whole.
Finding asked(const std::function<Finding()>& probe, const std::function<bool()>& spoil = [] { return true; }) {
    std::string text;
    ChildProcess child([&](int news) {
        if (!spoil()) return 1;
        const auto found = probe();
        const auto all = found.what + '\n' + (found.ok ? "yes" : "no") + '\n' + found.how + '\n' + found.remedy + '\n';
        for (char c : all) ChildProcess::tell(news, c);
        return 0;
    });
    while (const char c = child.hear()) text += c;
    EXPECT_EQ(child.wait(), 0) << "its surroundings could not be changed";
    std::vector<std::string> lines(1);
    for (char c : text) {
        if (c == '\n') lines.emplace_back();
        else lines.back() += c;
    }
    lines.resize(4);
    return {lines[0], lines[1] == "yes", lines[2], lines[3]};
}

// From now on this process may not make that system call, as under a container's filter.
bool forbid(unsigned call, unsigned errno_value) {
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno_value),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{static_cast<unsigned short>(std::size(rules)), rules};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

void expect_no(const Finding& found, const std::string& why, const std::string& remedy) {
    EXPECT_FALSE(found.ok) << found.what;
    EXPECT_THAT(found.how, HasSubstr(why));
    EXPECT_THAT(found.remedy, HasSubstr(remedy));
}

TEST(Doctor, KnowsWhatPidfdIsFor) {
    const auto found = asked(probe_pidfd);
    EXPECT_TRUE(found.ok) << found.how;
    EXPECT_EQ(found.remedy, "");
    expect_no(asked(probe_pidfd, [] { return forbid(SYS_pidfd_open, EPERM); }), "not permitted", "pidfd_open allowed");
}

TEST(Doctor, SendsADescriptor) {
    const auto found = asked(probe_descriptor_passing);
    EXPECT_TRUE(found.ok) << found.how;
    expect_no(asked(probe_descriptor_passing, [] { return forbid(SYS_memfd_create, EPERM); }), "memfd_create", "SCM_RIGHTS");
    expect_no(asked(probe_descriptor_passing, [] { return forbid(SYS_recvmsg, EACCES); }), "receiving from itself", "allow Unix sockets");
    // Room for the two sockets and the memfd, none for what arrives.
    expect_no(asked(probe_descriptor_passing,
                    [] {
                        int last = -1;
                        {
                            const UniqueFd one(::open("/", O_PATH | O_CLOEXEC)), two(::open("/", O_PATH | O_CLOEXEC)), three(::open("/", O_PATH | O_CLOEXEC));
                            last = std::max({one.get(), two.get(), three.get()});
                        }
                        const rlimit few{static_cast<rlim_t>(last) + 1, static_cast<rlim_t>(last) + 1};
                        return ::setrlimit(RLIMIT_NOFILE, &few) == 0;
                    }),
              "too many open", "ulimit -n");
}

TEST(Doctor, TriesTheSeals) {
    const auto found = asked(probe_memfd_seals);
    EXPECT_TRUE(found.ok) << found.how;
    expect_no(asked(probe_memfd_seals, [] { return forbid(SYS_fcntl, EPERM); }), "sealing a memfd", "F_ADD_SEALS");
    // A limit that would end the process by a signal.
    expect_no(asked(probe_memfd_seals,
                    [] {
                        const rlimit none{0, 0};
                        return ::setrlimit(RLIMIT_FSIZE, &none) == 0;
                    }),
              "RLIMIT_FSIZE is 0", "memfd_create");
}

TEST(Doctor, TriesHugePages) {
    EXPECT_THAT(asked(probe_huge_pages).how, HasSubstr("transparent_hugepage/enabled"));
    expect_no(asked(probe_huge_pages, [] { return ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0; }), "4 KiB pages", "PR_SET_THP_DISABLE");
}

TEST(Doctor, SaysWhoStandsInTheWayOfIoUring) {
    const auto found = asked(probe_io_uring);
    EXPECT_EQ(found.ok, found.remedy.empty()) << found.how;
    const auto disabled = testing::read_whole_file("/proc/sys/kernel/io_uring_disabled");
    if (disabled == "" || disabled == "0\n") {
        expect_no(asked(probe_io_uring, [] { return forbid(SYS_io_uring_setup, EPERM); }), "by a seccomp filter", "seccomp profile");
    }
    expect_no(asked(probe_io_uring, [] { return forbid(SYS_io_uring_setup, ENOSYS); }), "seccomp filter, or by a kernel without it", "threads");
    expect_no(asked(probe_io_uring, [] { return forbid(SYS_io_uring_setup, ENOMEM); }), "RLIMIT_MEMLOCK", "threads");
}

TEST(Doctor, WritesAndReadsABlockDirectly) {
    const testing::TemporaryDirectory scratch;
    const auto on_disk = asked([&] { return probe_direct_io(scratch.path()); });
    EXPECT_THAT(on_disk.how, HasSubstr("(")) << "the file system and its device";
    EXPECT_EQ(on_disk.ok, on_disk.remedy.empty());
    EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
    expect_no(asked([&] { return probe_direct_io(scratch / "nowhere"); }), scratch / "nowhere", "--dir");
    expect_no(asked([&] { return probe_direct_io(scratch.path()); }, [] { return forbid(SYS_pwrite64, EINVAL); }), "writing 4096 bytes to", "ext4 or xfs");
    // Whether a file system in memory takes it is the kernel's affair (tmpfs does from 6.6 on): what it does is said.
    const auto in_memory = asked([] { return probe_direct_io("/dev/shm"); });
    const UniqueFd plain(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    const bool takes = ::fcntl(plain.get(), F_SETFL, O_DIRECT) == 0;
    EXPECT_EQ(in_memory.ok, takes) << in_memory.how;
    EXPECT_THAT(in_memory.how, HasSubstr("tmpfs"));
}

TEST(Doctor, NamesTheCongestionControls) {
    const auto found = asked(probe_congestion_control);
    EXPECT_THAT(found.how, HasSubstr("in use"));
    EXPECT_THAT(found.how, HasSubstr("available: "));
    expect_no(asked(probe_congestion_control, [] { return forbid(SYS_setsockopt, EPERM); }), "in use", "tcp_allowed_congestion_control");
    expect_no(asked(probe_congestion_control, [] { return forbid(SYS_socket, EAFNOSUPPORT); }), "making a TCP socket", "IPv4");
}

TEST(Doctor, JudgesTheMemoryThatIsLeft) {
    EXPECT_TRUE(judge_memory(memory_limit()).ok);
    const testing::TemporaryDirectory root;
    const auto put = [&](const std::string& path, const std::string& text) {
        std::filesystem::create_directories(std::filesystem::path(root / path).parent_path());
        testing::write_whole_file(root / path, text);
    };
    expect_no(judge_memory(memory_limit_under(root.path())), "how much memory", "/proc");
    put("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n");
    EXPECT_THAT(judge_memory(memory_limit_under(root.path())).how, HasSubstr("no memory cgroup allows less"));
    put("proc/self/cgroup", "0::/box\n");
    put("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/box/memory.max", "500000000\n");
    put("sys/fs/cgroup/box/memory.current", "400000000\n");
    put("sys/fs/cgroup/box/memory.stat", "inactive_file 0\n");
    const auto tight = judge_memory(memory_limit_under(root.path()));
    expect_no(tight, "/sys/fs/cgroup/box/memory.max", "raise the memory cgroup's limit");
    EXPECT_THAT(tight.how, HasSubstr("left of the"));
}

TEST(Doctor, ExaminesAllOfIt) {
    const testing::TemporaryDirectory scratch;
    const auto findings = examine_machine(scratch.path());
    ASSERT_OK(findings);
    std::vector<std::string> names;
    for (const auto& finding : *findings) {
        names.push_back(finding.what);
        EXPECT_NE(finding.how, "") << finding.what;
        if (!finding.ok) {
            EXPECT_NE(finding.remedy, "") << finding.what;
        }
    }
    EXPECT_THAT(names, ::testing::ElementsAre("shm", "tcp", "file", "descriptors over a socket", "pidfd", "memfd seals", "huge pages", "congestion control", "io_uring",
                                              "O_DIRECT", "memory", "descriptors", "cuda", "nccl", "ucx"));
}

}  // namespace
}  // namespace wsync
