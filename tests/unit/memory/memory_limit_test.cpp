#include "memory/memory_limit.hpp"

#include "memory/memory_figures.hpp"
#include "result_matchers.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <stdlib.h>

namespace wsync {
namespace {

// A machine's /proc and /sys/fs/cgroup, as far as the limits read them.
class FakeMachine {
public:
    FakeMachine() {
        char path[] = "/tmp/wsync-limits-XXXXXX";
        root_ = ::mkdtemp(path);
    }
    ~FakeMachine() { std::filesystem::remove_all(root_); }
    FakeMachine& file(const std::string& path, const std::string& text) {
        std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
        std::ofstream(root_ + path) << text;
        return *this;
    }
    FakeMachine& available(std::uint64_t kilobytes) {
        return file("/proc/meminfo", "MemTotal:  99999999 kB\nMemFree: 1 kB\nMemAvailable:   " + std::to_string(kilobytes) + " kB\n");
    }
    const std::string& root() const { return root_; }

private:
    std::string root_;
};

constexpr auto kV2Mount = "25 20 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr auto kV1Mount =
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

MemoryLimit limit_of(const FakeMachine& machine) { return memory_limit_under(machine.root()).value(); }

TEST(MemoryLimit, WithoutGroupsItIsMemAvailable) {
    FakeMachine machine;
    machine.available(1000);
    auto limit = limit_of(machine);
    EXPECT_EQ(limit.available_bytes, 1024000U);
    EXPECT_EQ(limit.set_by, "MemAvailable");
}

TEST(MemoryLimit, V2TakesTheTightestAncestor) {
    FakeMachine machine;
    machine.available(100000).file("/proc/self/cgroup", "0::/kube/pod/leaf\n").file("/proc/self/mountinfo", kV2Mount);
    machine.file("/sys/fs/cgroup/kube/pod/leaf/memory.max", "max\n").file("/sys/fs/cgroup/kube/pod/leaf/memory.current", "500\n");
    machine.file("/sys/fs/cgroup/kube/pod/memory.max", "3000000\n").file("/sys/fs/cgroup/kube/pod/memory.current", "1000000\n");
    machine.file("/sys/fs/cgroup/kube/memory.max", "9000000\n").file("/sys/fs/cgroup/kube/memory.current", "1000000\n");
    auto limit = limit_of(machine);
    EXPECT_EQ(limit.available_bytes, 2000000U);
    EXPECT_EQ(limit.set_by, "/sys/fs/cgroup/kube/pod/memory.max");
}

TEST(MemoryLimit, CachedFilePagesAreNotCountedAsUsed) {
    FakeMachine machine;
    machine.available(100000).file("/proc/self/cgroup", "0::/a\n").file("/proc/self/mountinfo", kV2Mount);
    machine.file("/sys/fs/cgroup/a/memory.max", "5000\n").file("/sys/fs/cgroup/a/memory.current", "4000\n");
    machine.file("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 3000\nactive_file 7\n");
    EXPECT_EQ(limit_of(machine).available_bytes, 4000U);
}

TEST(MemoryLimit, MemoryHighCountsAsWell) {
    FakeMachine machine;
    machine.available(100000).file("/proc/self/cgroup", "0::/a\n").file("/proc/self/mountinfo", kV2Mount);
    machine.file("/sys/fs/cgroup/a/memory.max", "9000\n").file("/sys/fs/cgroup/a/memory.high", "6000\n").file("/sys/fs/cgroup/a/memory.current", "7000\n");
    auto limit = limit_of(machine);
    EXPECT_EQ(limit.available_bytes, 0U);
    EXPECT_EQ(limit.set_by, "/sys/fs/cgroup/a/memory.high");
}

TEST(MemoryLimit, V1TakesTheTightestAncestorToo) {
    FakeMachine machine;
    machine.available(100000).file("/proc/self/cgroup", "9:name=systemd:/\n4:cpuset,memory:/docker/abc\n0::/\n").file("/proc/self/mountinfo", kV1Mount);
    auto base = std::string("/sys/fs/cgroup/memory");
    machine.file(base + "/docker/abc/memory.limit_in_bytes", "9223372036854771712\n").file(base + "/docker/abc/memory.usage_in_bytes", "100\n");
    machine.file(base + "/docker/memory.limit_in_bytes", "10000\n").file(base + "/docker/memory.usage_in_bytes", "4000\n");
    machine.file(base + "/docker/memory.stat", "cache 9\ntotal_inactive_file 1000\n");
    machine.file(base + "/memory.limit_in_bytes", "9223372036854771712\n").file(base + "/memory.usage_in_bytes", "5000\n");
    auto limit = limit_of(machine);
    EXPECT_EQ(limit.available_bytes, 7000U);
    EXPECT_EQ(limit.set_by, "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes");
}

TEST(MemoryLimit, AMountThatShowsOnlyTheContainersGroup) {
    FakeMachine machine;
    machine.available(100000).file("/proc/self/cgroup", "4:memory:/docker/abc/inner\n");
    machine.file("/proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory\n");
    machine.file("/sys/fs/cgroup/my memory/memory.limit_in_bytes", "700\n").file("/sys/fs/cgroup/my memory/memory.usage_in_bytes", "0\n");
    machine.file("/sys/fs/cgroup/my memory/inner/memory.limit_in_bytes", "900\n").file("/sys/fs/cgroup/my memory/inner/memory.usage_in_bytes", "0\n");
    auto limit = limit_of(machine);
    EXPECT_EQ(limit.available_bytes, 700U);
    EXPECT_EQ(limit.set_by, "/sys/fs/cgroup/my memory/memory.limit_in_bytes");
}

TEST(MemoryLimit, AGroupOutsideTheMountIsTheMountItself) {
    for (std::string group : {"/../sibling", "/elsewhere"}) {
        FakeMachine machine;
        machine.available(100000).file("/proc/self/cgroup", "0::" + group + "\n");
        machine.file("/proc/self/mountinfo", "25 20 0:22 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        machine.file("/sys/fs/cgroup/memory.max", "800\n").file("/sys/fs/cgroup/memory.current", "100\n");
        EXPECT_EQ(limit_of(machine).available_bytes, 700U) << group;
    }
}

TEST(MemoryLimit, BrokenFilesAreNoLimitAndNoCrash) {
    FakeMachine machine;
    machine.available(1).file("/proc/self/cgroup", ":::\n0:\n\n0::/a\nxx:memory\n4:memory:/b").file("/proc/self/mountinfo", std::string(kV2Mount) + " - cgroup2\n1 2 3 - cgroup2 a b\n" + kV1Mount);
    machine.file("/sys/fs/cgroup/a/memory.max", "banana").file("/sys/fs/cgroup/a/memory.current", "");
    machine.file("/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "99999999999999999999999").file("/sys/fs/cgroup/memory/b/memory.usage_in_bytes", "-3");
    EXPECT_EQ(limit_of(machine).set_by, "MemAvailable");
    FakeMachine empty;
    EXPECT_THAT(memory_limit_under(empty.root()), testing::HasCode(Code::unsupported));
    EXPECT_THAT(kernel_memory_under(empty.root()), testing::HasCode(Code::unsupported));
}

TEST(MemoryLimit, ACheckSaysNeedRestAndWhoSetIt) {
    FakeMachine machine;
    machine.available(8100000);
    EXPECT_OK(check_memory_under(machine.root(), 8100000ULL * 1024, "a slab"));
    EXPECT_THAT(check_memory_under(machine.root(), 12000000000, "the staging slab"),
                testing::HasError(Code::resource_exhausted, "need 12.0 GB for the staging slab, 8.3 GB are left (set by MemAvailable)"));
}

TEST(MemoryLimit, ThisMachineHasOne) {
    auto limit = memory_limit().value();
    EXPECT_GT(limit.available_bytes, 1ULL << 20);
    EXPECT_FALSE(limit.set_by.empty());
    EXPECT_THAT(check_memory(1ULL << 60, "everything"), testing::HasError(Code::resource_exhausted, limit.set_by));
}

TEST(KernelMemory, ReadsTheKernelsFigures) {
    FakeMachine machine;
    machine.file("/proc/self/status", "Name:\tx\nVmRSS:\t  99 kB\nRssAnon:\t    1 kB\nRssFile:\t    2 kB\nRssShmem:\t    3 kB\nVmPTE:\t    4 kB\n");
    auto memory = kernel_memory_under(machine.root()).value();
    EXPECT_EQ(memory.rss_anon, 1024U);
    EXPECT_EQ(memory.rss_file, 2048U);
    EXPECT_EQ(memory.rss_shmem, 3072U);
    EXPECT_EQ(memory.page_tables, 4096U);
    EXPECT_GT(kernel_memory().value().rss_anon, 0U);
}

}  // namespace
}  // namespace wsync
