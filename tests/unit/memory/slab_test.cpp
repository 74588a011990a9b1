#include "memory/slab.hpp"

#include "memory/ledger.hpp"
#include "memory/mapping.hpp"
#include "unit/memory/footprint.hpp"
#include "result_matchers.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace wsync {
namespace {

using testing::Footprint;

std::shared_ptr<SharedSlab> slab_of(std::uint64_t bytes, bool huge = false) {
    return SharedSlab::make({.bytes = bytes, .huge_pages = huge}).value();
}
UniqueFd duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

TEST(SharedSlab, IsZeroSealedAndWritableByItsOwnerAlone) {
    auto slab = slab_of(10000);
    auto region = SharedSlab::region(slab);
    EXPECT_EQ(region.kind, MemoryKind::shared);
    EXPECT_TRUE(region.writable);
    EXPECT_EQ(region.bytes, 10000U);
    EXPECT_EQ(region.fd, slab->fd());
    auto bytes = *region.host_bytes();
    for (auto byte : bytes) ASSERT_EQ(byte, std::byte{0});
    bytes[9999] = std::byte{7};

    int seals = ::fcntl(slab->fd(), F_GET_SEALS);
    EXPECT_EQ(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    EXPECT_NE(::ftruncate(slab->fd(), 4096), 0);
    EXPECT_NE(::ftruncate(slab->fd(), 1 << 20), 0);
    std::byte one{};
    EXPECT_LT(::pwrite(slab->fd(), &one, 1, 0), 0);
    EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, slab->fd(), 0), MAP_FAILED);
    auto* read_only = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, slab->fd(), 0);
    ASSERT_NE(read_only, MAP_FAILED);
    EXPECT_NE(::mprotect(read_only, 4096, PROT_READ | PROT_WRITE), 0);
    ::munmap(read_only, 4096);
    EXPECT_NE(::fcntl(slab->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(SharedSlab, ItsPageSaysWhatItIs) {
    auto a = slab_of(5000), b = slab_of(5000);
    EXPECT_EQ(a->page().magic, kSlabPageMagic);
    EXPECT_EQ(a->page().major, 1);
    EXPECT_EQ(a->page().data_bytes, 5000U);
    EXPECT_EQ(a->page().generation.load(), 0U);
    EXPECT_NE(a->page().nonce, b->page().nonce);
    EXPECT_NE(a->inode(), 0U);
    EXPECT_NE(a->inode(), b->inode());
    // 8192 of data, then the page.
    EXPECT_EQ(reinterpret_cast<std::byte*>(&a->page()) - SharedSlab::region(a).address, 8192);
}

TEST(SharedSlab, AReceiverSeesItsBytesAndItsGeneration) {
    auto slab = slab_of(3 << 20);
    auto source = *SharedSlab::region(slab).host_bytes();
    for (std::size_t i = 0; i < source.size(); i += 1000) source[i] = static_cast<std::byte>(i / 1000);
    auto mapped = MappedSlab::map(duplicate(slab->fd()), {.populate = true}).value();
    auto region = MappedSlab::region(mapped);
    EXPECT_EQ(region.kind, MemoryKind::shared);
    EXPECT_FALSE(region.writable);
    EXPECT_EQ(region.bytes, source.size());
    EXPECT_EQ(std::memcmp(region.address, source.data(), source.size()), 0);
    EXPECT_EQ(mapped->inode(), slab->inode());
    EXPECT_EQ(mapped->page().nonce, slab->page().nonce);
    slab->page().generation.store(6);
    EXPECT_EQ(mapped->page().generation.load(), 6U);
    slab->page().generation.store(7);
    EXPECT_EQ(mapped->page().generation.load(), 7U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region.address) % kHugePageBytes, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(source.data()) % kHugePageBytes, 0U);
}

TEST(SharedSlab, AReceiverOutlivesTheExporter) {
    auto slab = slab_of(4096);
    (*SharedSlab::region(slab).host_bytes())[5] = std::byte{9};
    auto mapped = MappedSlab::map(duplicate(slab->fd()), {}).value();
    slab.reset();
    EXPECT_EQ((*MappedSlab::region(mapped).host_bytes())[5], std::byte{9});
    EXPECT_OK(mapped->populate());
}

TEST(SharedSlab, RegionsKeepItAlive) {
    auto slab = slab_of(4096);
    auto region = SharedSlab::region(slab);
    std::weak_ptr<SharedSlab> watch = slab;
    slab.reset();
    EXPECT_FALSE(watch.expired());
    (*region.host_bytes())[0] = std::byte{1};
    region = {};
    EXPECT_TRUE(watch.expired());
}

TEST(SharedSlab, HugePagesAreObtainedOrDenied) {
    auto slab = slab_of(8 << 20, true);
    auto mapped = testing::huge_shmem_bytes_at(SharedSlab::region(slab).address);
    ASSERT_TRUE(mapped.has_value());
    EXPECT_EQ(slab->huge(), *mapped == (8ULL << 20)) << *mapped;
    EXPECT_FALSE(slab_of(8 << 20, false)->huge());
    EXPECT_FALSE(slab_of(1 << 20, true)->huge());
}

TEST(SharedSlab, ThreadsPopulateAllOfIt) {
    auto before = testing::kernel_shmem();
    auto slab = SharedSlab::make({.bytes = 9 << 20, .huge_pages = false, .populate_threads = 3}).value();
    EXPECT_GE(testing::kernel_shmem() - before, 9ULL << 20);
    EXPECT_FALSE(slab->huge());
}

TEST(SharedSlab, LeavesNothingBehind) {
    slab_of(1 << 20, true).reset();  // what the library makes once
    auto before = Footprint::settled();
    for (int i = 0; i < 5; ++i) {
        auto slab = slab_of(5 << 20, true);
        auto mapped = MappedSlab::map(duplicate(slab->fd()), {.populate = true}).value();
        EXPECT_NE(Footprint::now(), before);
    }
    EXPECT_EQ(settled_at(before), before);
}

TEST(SharedSlab, TheLedgerHasItWhileItLives) {
    MemoryLedger ledger;
    {
        auto slab = SharedSlab::make({.bytes = 10000, .huge_pages = false, .ledger = &ledger, .role = "spare"}).value();
        EXPECT_EQ(ledger.current(), 12288U + 4096U);
    }
    EXPECT_EQ(ledger.current(), 0U);
    EXPECT_EQ(ledger.peak_by_role().at("spare"), 16384U);
}

TEST(SharedSlab, RefusesWhatItCanNotBe) {
    EXPECT_THAT(SharedSlab::make({.bytes = 0}), testing::HasCode(Code::invalid_argument));
    EXPECT_THAT(SharedSlab::make({.bytes = ~0ULL}), testing::HasCode(Code::invalid_argument));
    EXPECT_THAT(SharedSlab::make({.bytes = 4096, .name = std::string(300, 'x')}), testing::HasError(Code::invalid_argument, "249"));
    EXPECT_THAT(MappedSlab::map(UniqueFd(), {}), testing::HasCode(Code::invalid_argument));
}

}  // namespace
}  // namespace wsync
