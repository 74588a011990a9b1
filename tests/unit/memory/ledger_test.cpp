#include "memory/ledger.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace wsync {
namespace {

using Peaks = std::map<std::string, std::uint64_t>;

TEST(MemoryLedger, CountsNowAndPeakByRole) {
    MemoryLedger ledger;
    ledger.add("slab", 100);
    ledger.add("staging", 50);
    ledger.remove("slab", 100);
    ledger.add("staging", 20);
    EXPECT_EQ(ledger.current(), 70U);
    EXPECT_EQ(ledger.peak(), 150U);
    EXPECT_EQ(ledger.peak_by_role(), (Peaks{{"slab", 100}, {"staging", 70}}));
}

TEST(MemoryLedger, AfterAResetThePeakIsWhatIsHeld) {
    MemoryLedger ledger;
    ledger.add("slab", 100);
    ledger.add("staging", 50);
    ledger.remove("staging", 50);
    ledger.reset_peak();
    EXPECT_EQ(ledger.peak(), 100U);
    EXPECT_EQ(ledger.peak_by_role(), (Peaks{{"slab", 100}}));
    ledger.add("staging", 1);
    EXPECT_EQ(ledger.peak(), 101U);
}

TEST(MemoryLedger, NeverGoesBelowZero) {
    MemoryLedger ledger;
    ledger.remove("nobody", 5);
    ledger.add("slab", 10);
    ledger.remove("slab", 30);
    EXPECT_EQ(ledger.current(), 0U);
    ledger.add("slab", 7);
    EXPECT_EQ(ledger.current(), 7U);
}

TEST(MemoryLedger, ThreadsDoNotLoseBytes) {
    MemoryLedger ledger;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&ledger, t] {
            auto role = "role" + std::to_string(t % 2);
            for (int i = 0; i < 2000; ++i) {
                ledger.add(role, 3);
                if (i % 2 == 0) ledger.remove(role, 3);
                (void)ledger.peak_by_role();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(ledger.current(), 4U * 1000 * 3);
    EXPECT_GE(ledger.peak(), ledger.current());
}

}  // namespace
}  // namespace wsync
