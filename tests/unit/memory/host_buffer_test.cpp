#include "memory/host_buffer.hpp"

#include "memory/ledger.hpp"
#include "memory/mapping.hpp"
#include "memory/memory_limit.hpp"
#include "memory/prefault.hpp"
#include "result_matchers.hpp"
#include "unit/memory/footprint.hpp"

#include <atomic>
#include <fstream>
#include <mutex>
#include <sys/mman.h>
#include <vector>

namespace wsync {
namespace {

TEST(HostBuffer, IsZeroAlignedWritableAndPresent) {
    auto before = kernel_memory().value().rss_anon;
    auto buffer = HostBuffer::make({.bytes = (5 << 20) + 123, .prefault_threads = 2}).value();
    EXPECT_GE(kernel_memory().value().rss_anon, before + (5 << 20));
    EXPECT_EQ(buffer->bytes().size(), (5U << 20) + 123);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->bytes().data()) % kHugePageBytes, 0U);
    for (auto byte : buffer->bytes()) ASSERT_EQ(byte, std::byte{0});
    buffer->bytes().back() = std::byte{3};
    auto region = HostBuffer::region(buffer);
    EXPECT_EQ(region.kind, MemoryKind::host);
    EXPECT_TRUE(region.writable);
    EXPECT_EQ(region.fd, -1);
    EXPECT_EQ(region.host_bytes()->size(), buffer->bytes().size());
    EXPECT_EQ(region.host_bytes()->back(), std::byte{3});
}

TEST(HostBuffer, GivesEverythingBack) {
    MemoryLedger ledger;
    auto maps = [] {
        std::ifstream file("/proc/self/maps");
        std::size_t bytes = 0;
        for (std::string line; std::getline(file, line);) {
            if (line.find("heap") == std::string::npos) bytes += std::stoull(line.substr(line.find('-') + 1), nullptr, 16) - std::stoull(line, nullptr, 16);
        }
        return bytes;
    };
    (void)HostBuffer::make({.bytes = 3 << 20}).value();
    auto before = maps();
    for (int i = 0; i < 4; ++i) {
        auto buffer = HostBuffer::make({.bytes = 3 << 20, .ledger = &ledger, .role = "staging"}).value();
        EXPECT_EQ(ledger.current(), 3U << 20);
    }
    EXPECT_EQ(maps(), before);
    EXPECT_EQ(ledger.current(), 0U);
    EXPECT_EQ(ledger.peak_by_role(), (std::map<std::string, std::uint64_t>{{"staging", 3U << 20}}));
}

TEST(HostBuffer, RefusesWhatItCanNotBe) {
    EXPECT_THAT(HostBuffer::make({.bytes = 0}), testing::HasCode(Code::invalid_argument));
    EXPECT_THAT(HostBuffer::make({.bytes = ~0ULL - 5}), testing::HasCode(Code::invalid_argument));
}

TEST(Mapping, RoundsToWholePages) {
    EXPECT_EQ(whole_pages(0).value(), 0U);
    EXPECT_EQ(whole_pages(1).value(), 4096U);
    EXPECT_EQ(whole_pages(4096).value(), 4096U);
    EXPECT_EQ(whole_pages(4097).value(), 8192U);
    EXPECT_THAT(whole_pages(~0ULL), testing::HasCode(Code::invalid_argument));
}

TEST(Prefault, PiecesCoverTheRangeOnceAndEachInWhole2MiBUnits) {
    std::vector<std::byte> anything(1);
    for (std::size_t bytes : {1UL, 4096UL, 2UL << 20, (2UL << 20) + 1, 7UL << 20, (9UL << 20) + 5000}) {
        for (unsigned threads : {0U, 1U, 2U, 3U, 8U, 1000U}) {
            std::mutex mutex;
            std::vector<std::pair<std::size_t, std::size_t>> pieces;
            std::span<std::byte> range(anything.data(), bytes);  // never touched
            ASSERT_OK(for_each_piece(range, threads, [&](std::span<std::byte> piece) -> Status {
                std::lock_guard lock(mutex);
                pieces.emplace_back(piece.data() - range.data(), piece.size());
                return {};
            }));
            std::sort(pieces.begin(), pieces.end());
            std::size_t at = 0;
            for (auto [begin, size] : pieces) {
                ASSERT_EQ(begin, at);
                ASSERT_EQ(begin % kHugePageBytes, 0U);
                ASSERT_GT(size, 0U);
                at += size;
            }
            ASSERT_EQ(at, bytes);
            ASSERT_LE(pieces.size(), std::max(threads, 1U));
        }
    }
}

TEST(Prefault, AnErrorOfOnePieceIsTheAnswer) {
    std::vector<std::byte> anything(1);
    auto status = for_each_piece({anything.data(), 6 << 20}, 3, [&](std::span<std::byte> piece) -> Status {
        if (piece.data() != anything.data()) return Error{Code::unavailable, "no"};
        return {};
    });
    EXPECT_THAT(status, testing::HasCode(Code::unavailable));
}

TEST(Prefault, KeepsTheBytes) {
    auto* address = map_aligned(1 << 20, -1, true).value();
    std::span<std::byte> range(address, 1 << 20);
    range[70000] = std::byte{5};
    EXPECT_OK(populate_write(range, 2));
    EXPECT_OK(populate_read(range, 2));
    EXPECT_EQ(range[70000], std::byte{5});
    EXPECT_OK(populate_write({}, 2));
    ::munmap(address, range.size());
}

TEST(Prefault, MemoryThatIsNotThereIsAnError) {
    auto* address = map_aligned(1 << 20, -1, true).value();
    ::munmap(address + 4096, 4096);
    EXPECT_FALSE(populate_read({address, 3 * 4096}, 1).has_value());
    ::munmap(address, 1 << 20);
}

}  // namespace
}  // namespace wsync
