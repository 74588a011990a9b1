// Holds and generations: the rules one by one, then the same code run by threads (under tsan too).
#include "result_matchers.hpp"
#include "sync/holds.hpp"

#include <array>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;

struct Table {
    explicit Table(std::size_t slabs, HoldTable::OnRevoked on_revoked = {}) : generations(slabs) {
        std::vector<std::atomic<std::uint64_t>*> pointers;
        for (auto& generation : generations) pointers.push_back(&generation);
        holds = std::make_unique<HoldTable>(pointers, std::move(on_revoked));
    }
    std::uint32_t publish(std::uint64_t number) {
        const auto slab = holds->begin_write(Deadline::now()).value();
        holds->finish_write(slab, number);
        holds->announce(number);
        return slab;
    }
    std::vector<std::atomic<std::uint64_t>> generations;
    std::unique_ptr<HoldTable> holds;
};

TEST(Holds, GenerationIsOddWhileWritten) {
    Table table(2);
    const auto slab = table.holds->begin_write(Deadline::now()).value();
    EXPECT_EQ(table.generations[slab] % 2, 1u);
    table.holds->finish_write(slab, 1);
    EXPECT_EQ(table.generations[slab] % 2, 0u);
}

TEST(Holds, TheNewestVersionIsNeverWritten) {
    Table table(2);
    const auto first = table.publish(1);
    const auto second = table.publish(2);
    EXPECT_NE(first, second);
    EXPECT_EQ(table.publish(3), first);
}

TEST(Holds, AHoldKeepsItsSlab) {
    Table table(2);
    table.publish(1);
    auto hold = table.holds->grant(1, HoldKind::copy, 7, "receiver a").value();
    table.publish(2);
    EXPECT_THAT(table.holds->begin_write(10ms), HasError(Code::timed_out, "receiver a (copy hold on version 1)"));
    EXPECT_OK(table.holds->check(hold.id));
    table.holds->release(hold.id);
    EXPECT_OK(table.holds->begin_write(Deadline::now()));
}

TEST(Holds, AConnectionsEndReleasesItsHolds) {
    Table table(2);
    table.publish(1);
    (void)table.holds->grant(1, HoldKind::serve, 7, "a").value();
    (void)table.holds->grant(1, HoldKind::copy, 7, "a").value();
    auto other = table.holds->grant(1, HoldKind::copy, 8, "b").value();
    table.holds->release_connection(7);
    EXPECT_EQ(table.holds->holds(), 1u);
    EXPECT_OK(table.holds->check(other.id));
}

TEST(Holds, RevokingTellsTheHolderAndFailsItsCheck) {
    std::vector<std::uint64_t> revoked;
    Table table(2, [&](std::uint64_t connection, const Hold&) { revoked.push_back(connection); });
    table.publish(1);
    auto hold = table.holds->grant(1, HoldKind::serve, 7, "a").value();
    table.publish(2);
    EXPECT_OK(table.holds->begin_write(Deadline::now(), true));
    EXPECT_EQ(revoked, std::vector<std::uint64_t>{7});
    EXPECT_THAT(table.holds->check(hold.id), HasCode(Code::corrupt));
}

TEST(Holds, ARecycledVersionIsNotGranted) {
    Table table(2);
    table.publish(1);
    table.publish(2);
    table.publish(3);
    EXPECT_THAT(table.holds->grant(1, HoldKind::copy, 1, "late"), HasError(Code::unavailable, "newest: 3"));
}

TEST(Holds, LiveAdmitsCopiesButNoServing) {
    Table table(1);
    table.publish(1);
    EXPECT_THAT(table.holds->grant(1, HoldKind::serve, 1, "a"), HasCode(Code::unsupported));
    auto hold = table.holds->grant(1, HoldKind::install, 1, "a").value();
    EXPECT_THAT(table.holds->begin_write(Deadline::now()), HasError(Code::timed_out, "install hold"));
    table.holds->release(hold.id);
    EXPECT_EQ(table.publish(2), 0u);
}

TEST(Holds, AnAbandonedWriteIsTorn) {
    Table table(2);
    table.publish(1);
    const auto slab = table.holds->begin_write(Deadline::now()).value();
    table.holds->abandon_write(slab);
    EXPECT_THAT(table.holds->grant(2, HoldKind::copy, 1, "a"), HasCode(Code::unavailable));
    EXPECT_EQ(table.holds->begin_write(Deadline::now()).value(), slab);
}

// A copy may be taken away, since its reader checks; who reads in place must be told, and nothing but a revocation, a
// release or its end takes the hold.
TEST(Holds, MapHoldsNeverExpire) {
    for (const auto kind : {HoldKind::install, HoldKind::serve}) {
        std::vector<HoldKind> revoked;
        Table table(2, [&](std::uint64_t, const Hold& hold) { revoked.push_back(hold.kind); });
        table.publish(1);
        const auto hold = table.holds->grant(1, kind, 7, "engine").value();
        table.publish(2);
        for (int i = 0; i < 50; ++i) EXPECT_THAT(table.holds->begin_write(i % 2 == 0 ? Deadline::now() : Deadline(1ms)), HasError(Code::timed_out, "engine"));
        EXPECT_OK(table.holds->check(hold.id));
        EXPECT_EQ(table.holds->holds(), 1u);
        EXPECT_TRUE(revoked.empty());
        EXPECT_OK(table.holds->begin_write(Deadline::now(), true));
        EXPECT_EQ(revoked, std::vector<HoldKind>{kind});
    }
}

TEST(Holds, ARevocationTakesTheHoldsOfOneSlabAlone) {
    std::vector<std::uint64_t> revoked;
    Table table(3, [&](std::uint64_t connection, const Hold&) { revoked.push_back(connection); });
    table.publish(1);
    const auto oldest = table.holds->grant(1, HoldKind::copy, 7, "a").value();
    const auto oldest_too = table.holds->grant(1, HoldKind::serve, 8, "b").value();
    table.publish(2);
    const auto middle = table.holds->grant(2, HoldKind::serve, 9, "c").value();
    table.publish(3);
    const auto newest = table.holds->grant(3, HoldKind::copy, 10, "d").value();
    EXPECT_EQ(table.holds->begin_write(Deadline::now(), true).value(), oldest.slab);
    EXPECT_EQ(revoked, (std::vector<std::uint64_t>{7, 8}));
    EXPECT_THAT(table.holds->check(oldest.id), HasError(Code::corrupt, "revoked"));
    EXPECT_THAT(table.holds->check(oldest_too.id), HasCode(Code::corrupt));
    EXPECT_OK(table.holds->check(middle.id));
    EXPECT_OK(table.holds->check(newest.id));
    // The generation is odd before anybody is told: who copied meanwhile finds another one.
    EXPECT_EQ(table.generations[oldest.slab] % 2, 1u);
    EXPECT_NE(table.generations[oldest.slab], oldest.generation);
}

// Who serves from every other slab is offered the newest version: nothing is kept back that was not kept back already.
TEST(Holds, TheNewestIsOfferedToWhoHoldsTheRest) {
    Table table(2);
    table.publish(1);
    EXPECT_FALSE(table.holds->offer(1, 7)) << "it holds nothing";
    const auto serving = table.holds->grant(1, HoldKind::serve, 7, "engine").value();
    (void)table.holds->grant(1, HoldKind::install, 8, "installer").value();
    table.publish(2);
    EXPECT_FALSE(table.holds->offer(2, 8)) << "it does not serve";
    EXPECT_FALSE(table.holds->offer(3, 7)) << "there is no such version";
    const auto offered = table.holds->offer(2, 7);
    ASSERT_TRUE(offered);
    EXPECT_EQ(offered->number, 2u);
    EXPECT_EQ(offered->kind, HoldKind::serve);
    EXPECT_FALSE(table.holds->offer(2, 7)) << "it has that already";
    EXPECT_OK(table.holds->check(offered->id));
    table.holds->claim(offered->id);
    table.holds->release(serving.id);
    table.holds->release_connection(8);
    EXPECT_EQ(table.publish(3), serving.slab);
    EXPECT_TRUE(table.holds->offer(3, 7));
}

TEST(Holds, NothingIsOfferedOverAnUnclaimedOffer) {
    Table table(2);
    table.publish(1);
    const auto serving = table.holds->grant(1, HoldKind::serve, 7, "engine").value();
    table.publish(2);
    ASSERT_TRUE(table.holds->offer(2, 7));
    table.holds->release(serving.id);  // it gave up serving without a word on the offer
    table.publish(3);
    EXPECT_FALSE(table.holds->offer(3, 7));
    EXPECT_THAT(table.holds->begin_write(Deadline::now()), HasError(Code::timed_out, "engine (serve hold on version 2, offered)"));
}

TEST(Holds, WithSpareSlabsNothingIsOffered) {
    Table table(3);
    table.publish(1);
    (void)table.holds->grant(1, HoldKind::serve, 7, "engine").value();
    table.publish(2);
    EXPECT_FALSE(table.holds->offer(2, 7)) << "the trainer may run ahead into the third slab";
    (void)table.holds->grant(2, HoldKind::serve, 7, "engine").value();  // rollback keeps both
    table.publish(3);
    EXPECT_TRUE(table.holds->offer(3, 7));
}

TEST(Holds, ARevocationTakesWhatItsHolderWasOffered) {
    std::vector<std::uint64_t> revoked;
    Table table(2, [&](std::uint64_t, const Hold& hold) { revoked.push_back(hold.number); });
    table.publish(1);
    (void)table.holds->grant(1, HoldKind::serve, 7, "stopped").value();
    table.publish(2);
    const auto offered = table.holds->offer(2, 7);
    ASSERT_TRUE(offered);
    ASSERT_OK(table.holds->begin_write(Deadline::now(), true));
    EXPECT_EQ(revoked, (std::vector<std::uint64_t>{1, 2}));
    EXPECT_THAT(table.holds->check(offered->id), HasCode(Code::corrupt));
    EXPECT_EQ(table.holds->holds(), 0u);
}

// A hold that was released late, or twice, or never granted: nobody else's goes.
TEST(Holds, ReleasingWhatIsNotHeldChangesNothing) {
    Table table(2);
    table.publish(1);
    const auto hold = table.holds->grant(1, HoldKind::copy, 7, "a").value();
    table.holds->release(hold.id + 1);
    table.holds->release_connection(8);
    EXPECT_OK(table.holds->check(hold.id));
    table.holds->release(hold.id);
    table.holds->release(hold.id);
    EXPECT_EQ(table.holds->holds(), 0u);
}

// A writer and readers on one address: whatever a reader copied under a hold that still stands is of one version.
TEST(Holds, ReadersNeverTakeAMixture) {
    constexpr std::size_t kWords = 512;
    Table table(2);
    std::array<std::array<std::atomic<std::uint64_t>, kWords>, 2> slabs{};
    std::atomic<std::uint64_t> newest{0};
    std::atomic<bool> done{false};
    std::atomic<int> confirmed{0};

    std::vector<std::thread> readers;
    for (std::uint64_t id = 1; id <= 2; ++id) {
        readers.emplace_back([&, id] {
            while (!done) {
                auto hold = table.holds->grant(newest, HoldKind::copy, id, "reader");
                if (!hold) continue;
                std::array<std::uint64_t, kWords> copy{};
                for (std::size_t i = 0; i < kWords; ++i) copy[i] = slabs[hold->slab][i].load(std::memory_order_acquire);
                if (table.holds->check(hold->id)) {
                    for (auto word : copy) EXPECT_EQ(word, hold->number);
                    ++confirmed;
                }
                table.holds->release(hold->id);
            }
        });
    }
    for (std::uint64_t number = 1; number <= 300; ++number) {
        // Half of the time the writer does not wait: it takes the holds away.
        auto slab = table.holds->begin_write(number % 2 == 0 ? Deadline(1s) : Deadline::now(), true);
        ASSERT_OK(slab);
        for (auto& word : slabs[*slab]) word.store(number, std::memory_order_relaxed);
        table.holds->finish_write(*slab, number);
        table.holds->announce(number);
        newest = number;
    }
    while (confirmed == 0) std::this_thread::yield();
    done = true;
    for (auto& reader : readers) reader.join();
    EXPECT_GT(confirmed, 0);
}

}  // namespace
}  // namespace wsync
