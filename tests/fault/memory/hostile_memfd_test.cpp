// What a peer may hand us as a "slab". Each case runs in a forked child, so that a SIGBUS would show as a death by signal.
#include "memory/slab.hpp"

#include "result_matchers.hpp"
#include "unit/memory/footprint.hpp"

#include <cstring>
#include <fcntl.h>
#include <functional>
#include <new>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace wsync {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

// A slab as an exporter would make it, but for what the case breaks.
struct Forgery {
    std::uint64_t size = 3 * kPageBytes;
    std::uint64_t data_bytes = 2 * kPageBytes;
    std::uint64_t magic = kSlabPageMagic;
    std::uint16_t major = 1, minor = 0;
    int seals = kSeals;
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
};

UniqueFd forge(const Forgery& forgery) {
    UniqueFd fd(::memfd_create("forged", forgery.flags));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(forgery.size)) != 0) return {};
    if (forgery.size >= kPageBytes) {
        alignas(SlabPage) std::byte raw[sizeof(SlabPage)];
        auto* page = new (raw) SlabPage;
        page->magic = forgery.magic;
        page->major = forgery.major;
        page->minor = forgery.minor;
        page->data_bytes = forgery.data_bytes;
        if (::pwrite(fd.get(), raw, sizeof raw, static_cast<off_t>((forgery.size - 1) / kPageBytes * kPageBytes)) < 0) return {};
    }
    if (forgery.seals != 0 && ::fcntl(fd.get(), F_ADD_SEALS, forgery.seals) != 0) return {};
    return fd;
}

// Runs in a child: the exit status is 0 for "mapped and read", the code + 1 for an Error, 200 for a broken test.
void try_to_map(std::function<UniqueFd()> make, int& exit_status, bool& died) {
    auto child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        auto fd = make();
        if (!fd) ::_exit(200);
        auto slab = MappedSlab::map(std::move(fd), {.populate = true});
        if (!slab) ::_exit(1 + static_cast<int>(slab.error().code));
        unsigned sum = 0;
        auto bytes = *MappedSlab::region(*slab).host_bytes();
        for (auto byte : bytes) sum += std::to_integer<unsigned>(byte);
        ::_exit(sum == 0xffffffffU ? 201 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    died = WIFSIGNALED(status);
    exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void expect(const std::function<UniqueFd()>& make, std::optional<Code> code) {
    int exit_status = -1;
    bool died = true;
    try_to_map(make, exit_status, died);
    EXPECT_FALSE(died) << "killed by a signal";
    EXPECT_EQ(exit_status, code ? 1 + static_cast<int>(*code) : 0);
}
void expect_corrupt(const Forgery& forgery) {
    expect([forgery] { return forge(forgery); }, Code::corrupt);
}

TEST(HostileMemfd, AWellMadeForgeryIsASlab) {
    expect([] { return forge({}); }, std::nullopt);
    expect([] { return forge({.data_bytes = kPageBytes + 1, .minor = 9, .seals = kSeals | F_SEAL_FUTURE_WRITE}); }, std::nullopt);
    expect([] { return forge({.seals = kSeals | F_SEAL_WRITE}); }, std::nullopt);
}

TEST(HostileMemfd, WithoutSeals) {
    expect_corrupt({.seals = 0});
    expect_corrupt({.seals = F_SEAL_SHRINK});
    expect_corrupt({.seals = F_SEAL_GROW});
    expect_corrupt({.seals = F_SEAL_SEAL});
}

TEST(HostileMemfd, OfAnotherMagicOrMajor) {
    expect_corrupt({.magic = 0});
    expect_corrupt({.magic = kSlabPageMagic + 1});
    expect_corrupt({.major = 2});
    expect_corrupt({.major = 0});
}

TEST(HostileMemfd, WhoseSizeFitsNoSlab) {
    for (std::uint64_t size : {0UL, 1UL, 4095UL, 4096UL, 4097UL, 8191UL, 2 * kPageBytes + 1, 3 * kPageBytes - 1}) expect_corrupt({.size = size, .data_bytes = 1});
}

TEST(HostileMemfd, WhosePageLies) {
    for (std::uint64_t data : {std::uint64_t{0}, std::uint64_t{1}, kPageBytes, 2 * kPageBytes + 1, 3 * kPageBytes, ~std::uint64_t{0}, ~std::uint64_t{0} - 4095, std::uint64_t{1} << 63}) {
        expect_corrupt({.data_bytes = data});
    }
}

TEST(HostileMemfd, AHugeHoleIsRefusedOrHarmless) {
    // 2^46 sparse bytes whose page tells the truth, mapped without populating: nothing is allocated.
    auto child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        std::uint64_t size = (1ULL << 46) + kPageBytes;
        auto fd = forge({.size = size, .data_bytes = 1ULL << 46});
        if (!fd) ::_exit(0);  // the system does not even make it
        auto slab = MappedSlab::map(std::move(fd), {});
        ::_exit(slab && MappedSlab::region(*slab).bytes != (1ULL << 46) ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(HostileMemfd, ThatIsNoMemfd) {
    expect([] { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }, Code::corrupt);
    expect([] { return UniqueFd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); }, Code::corrupt);
    expect([] { return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }, Code::corrupt);
    expect([] { return UniqueFd(::open("/tmp", O_RDONLY | O_CLOEXEC)); }, Code::corrupt);
}

TEST(HostileMemfd, ThatCanNotBeRead) {
    // Only for writing: neither the page nor a mapping can be had.
    auto fd = forge({});
    auto path = "/proc/self/fd/" + std::to_string(fd.get());
    UniqueFd write_only(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(write_only);
    EXPECT_FALSE(MappedSlab::map(std::move(write_only), {}).has_value());
}

TEST(HostileMemfd, RefusalLeavesNothingBehind) {
    auto before = testing::Footprint::settled();
    EXPECT_THAT(MappedSlab::map(forge({.magic = 1}), {}), testing::HasCode(Code::corrupt));
    EXPECT_THAT(MappedSlab::map(forge({.seals = 0}), {}), testing::HasCode(Code::corrupt));
    EXPECT_EQ(testing::settled_at(before), before);
}

}  // namespace
}  // namespace wsync
