#include "memory/host_buffer.hpp"
#include "memory/ledger.hpp"
#include "memory/slab.hpp"
#include "result_matchers.hpp"
#include "unit/memory/footprint.hpp"

#include <fcntl.h>
#include <fstream>
#include <functional>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace wsync {
namespace {

// Runs `body` in a forked child: its answer, or 128 + the signal that killed it, or 255 for an exception.
int in_child(const std::function<int()>& body) {
    auto child = ::fork();
    if (child == 0) {
        int answer = 255;
        try {
            answer = body();
        } catch (...) {
        }
        ::_exit(answer);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// The process's address space, in bytes.
std::uint64_t address_space() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t pages = 0;
    statm >> pages;
    return pages * 4096;
}

constexpr std::uint64_t kTooMuch = 1ULL << 46;  // 70 TB

TEST(MemoryFaults, MoreThanThereIsIsRefusedWithNumbers) {
    MemoryLedger ledger;
    auto before = testing::Footprint::settled();
    EXPECT_THAT(SharedSlab::make({.bytes = kTooMuch, .name = "big", .ledger = &ledger}),
                testing::HasError(Code::resource_exhausted, "need 70368.7 GB for slab big of 70368744177664 bytes, "));
    EXPECT_THAT(HostBuffer::make({.bytes = kTooMuch, .ledger = &ledger, .role = "staging"}),
                testing::HasError(Code::resource_exhausted, "need 70368.7 GB for staging of 70368744177664 bytes, "));
    EXPECT_EQ(testing::settled_at(before), before);
    EXPECT_EQ(ledger.peak(), 0U);
}

// The child gets no mapping of the slab: neither to read nor to keep it alive.
TEST(MemoryFaults, AForkedChildHasNoMapOfTheExportersSlab) {
    auto slab = SharedSlab::make({.bytes = 4 << 20}).value();
    EXPECT_EQ(testing::Footprint::now().slab_maps, 1U);
    EXPECT_EQ(in_child([] { return static_cast<int>(testing::Footprint::now().slab_maps); }), 0);
    // A receiver's read-only map is inherited: what it shows can't be changed through it.
    auto mapped = MappedSlab::map(UniqueFd(::fcntl(slab->fd(), F_DUPFD_CLOEXEC, 0)), {}).value();
    EXPECT_EQ(in_child([] { return static_cast<int>(testing::Footprint::now().slab_maps); }), 1);
    EXPECT_EQ(in_child([&] { return ::mprotect(MappedSlab::region(mapped).address, 4096, PROT_READ | PROT_WRITE) == 0 ? 1 : 0; }), 0);
}

TEST(MemoryFaults, FileSizeLimitIsAnErrorNotASignal) {
    EXPECT_EQ(in_child([] {
                  rlimit small{1 << 20, 1 << 20};
                  ::setrlimit(RLIMIT_FSIZE, &small);
                  auto slab = SharedSlab::make({.bytes = 4 << 20});
                  return !slab && slab.error().code == Code::resource_exhausted ? 0 : 1;
              }),
              0);
}

TEST(MemoryFaults, NoDescriptorLeftIsAnErrorAndLeavesNothing) {
    EXPECT_EQ(in_child([] {
                  auto before = testing::Footprint::settled();
                  rlimit old{};
                  ::getrlimit(RLIMIT_NOFILE, &old);
                  rlimit none{0, old.rlim_max};
                  ::setrlimit(RLIMIT_NOFILE, &none);
                  bool refused = !SharedSlab::make({.bytes = 4096}).has_value();
                  ::setrlimit(RLIMIT_NOFILE, &old);
                  return refused && testing::settled_at(before) == before ? 0 : 1;
              }),
              0);
}

TEST(MemoryFaults, NoAddressSpaceLeftIsAnErrorAndLeavesNothing) {
    EXPECT_EQ(in_child([] {
                  auto before = testing::Footprint::settled();
                  auto most = address_space() + (64 << 20);
                  rlimit small{most, most};
                  ::setrlimit(RLIMIT_AS, &small);
                  bool slab = SharedSlab::make({.bytes = 128 << 20}).has_value();
                  bool buffer = HostBuffer::make({.bytes = 128 << 20}).has_value();
                  return (slab ? 1 : 0) + (buffer ? 2 : 0) + (testing::settled_at(before) == before ? 0 : 4);
              }),
              0);
}

// The same shape as a DataLoader: the exporter dies, its child lives. The child inherits the descriptor (that is fork's
// way), but no map: nothing that could write.
TEST(MemoryFaults, AForkedChildThatOutlivesTheExporterHoldsNoMap) {
    int to_parent[2], to_child[2];
    ASSERT_EQ(::pipe2(to_parent, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(to_child, O_CLOEXEC), 0);
    auto exporter = ::fork();
    ASSERT_GE(exporter, 0);
    if (exporter == 0) {
        auto slab = SharedSlab::make({.bytes = 4 << 20, .huge_pages = false});
        if (!slab) ::_exit(1);
        auto grandchild = ::fork();
        if (grandchild == 0) {
            ::close(to_child[1]);
            char byte = 'x';
            auto maps = testing::Footprint::now().slab_maps;
            byte = maps == 0 ? '0' : '1';
            (void)!::write(to_parent[1], &byte, 1);
            (void)!::read(to_child[0], &byte, 1);
            ::_exit(0);
        }
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(exporter, &status, 0), exporter);
    char byte = 0;
    ASSERT_EQ(::read(to_parent[0], &byte, 1), 1);
    EXPECT_EQ(byte, '0');
    for (int fd : {to_parent[0], to_parent[1], to_child[0], to_child[1]}) ::close(fd);
}

}  // namespace
}  // namespace wsync
