#include "tcp_fixture.hpp"

namespace wsync {
namespace {

TEST_F(TcpTest, ReadsAWholeSlabWithItsDigest) {
    const auto source = slab_region(5'000'001, 3);
    const auto target = host_region(5'000'001);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const Transfer transfer{.local = &target, .row_bytes = source.bytes, .want_digest = true, .ticket = 9};
    EXPECT_EQ(channel->submit({&transfer, 1}).value(), 1U);
    auto done = wait_all(*channel, 1);
    ASSERT_OK(done[9].status);
    EXPECT_EQ(done[9].digest, digest_of(*source.host_bytes()));
    EXPECT_TRUE(std::ranges::equal(*source.host_bytes(), *target.host_bytes()));
}

// Sources: a memfd, private memory, a file that is not mapped; sizes around every threshold; flat and in rows.
struct Source {
    std::string name;
    bool splice;
};
class TcpSourceTest : public TcpTest, public ::testing::WithParamInterface<Source> {
protected:
    Region make(std::uint64_t bytes) {
        if (GetParam().name == "slab") return slab_region(bytes, 5);
        if (GetParam().name == "host") return host_region(bytes, 5);
        const auto mapped = host_region(bytes, 5);
        const auto path = directory_ / "weights";
        const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        EXPECT_EQ(::write(fd, mapped.address, bytes), static_cast<ssize_t>(bytes));
        ::close(fd);
        expected_ = mapped;
        return open_file_region(path, true).value();
    }
    const std::byte* expected(const Region& source) const { return source.address != nullptr ? source.address : expected_.address; }

    testing::TemporaryDirectory directory_;
    Region expected_;
};

TEST_P(TcpSourceTest, EverySizeAndShapeArrives) {
    auto tcp = options();
    tcp.splice = GetParam().splice;
    exporter_ = make_tcp_transport(tcp).value();
    const std::uint64_t bytes = 9 << 20;
    const auto source = make(bytes);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(bytes);

    struct Shape {
        std::uint64_t remote, remote_stride, local, local_stride, row_bytes, rows;
    };
    const std::vector<Shape> shapes{
        {0, 0, 0, 0, 0, 1}, {bytes, 0, bytes, 0, 0, 1}, {5, 0, 7, 0, 0, 0}, {3, 0, 1, 0, 1, 1}, {1, 0, 2, 0, 4095, 1}, {4096, 0, 4096, 0, 4096, 1},
        {16383, 0, 1, 0, 16384, 1}, {5, 0, 0, 0, 65535, 1}, {4096, 0, 9, 0, 65536, 1}, {77, 0, 8191, 0, (1 << 20) + 1, 1}, {0, 0, 0, 0, bytes, 1},
        {10, 64, 3, 48, 48, 1000}, {10, 5000, 0, 4096, 4096, 700}, {0, 300'000, 64, 250'000, 200'001, 20}, {1, 2, 1, 3, 1, 5000},
        {0, 48 << 10, 1, 64 << 10, 48 << 10, 100}, {8, 100, 8, 100, 100, 30'000}, {0, 20'000, 5, 20'001, 16'384, 400},
    };
    for (const auto& shape : shapes) {
        std::ranges::fill(*target.host_bytes(), std::byte{0xee});
        const Transfer transfer{.remote_offset = shape.remote, .remote_stride = shape.remote_stride, .local = &target, .local_offset = shape.local,
                                .local_stride = shape.local_stride, .row_bytes = shape.row_bytes, .rows = shape.rows, .want_digest = true, .ticket = 1};
        ASSERT_EQ(channel->submit({&transfer, 1}).value(), 1U);
        auto done = wait_all(*channel, 1);
        const auto what = ::testing::Message() << shape.rows << " rows of " << shape.row_bytes << " at " << shape.remote;
        ASSERT_OK(done[1].status) << what;
        std::vector<std::byte> wanted(bytes, std::byte{0xee}), packed;
        for (std::uint64_t row = 0; row < shape.rows; ++row) {
            const auto* from = expected(source) + shape.remote + row * shape.remote_stride;
            std::copy_n(from, shape.row_bytes, wanted.data() + shape.local + row * shape.local_stride);
            packed.insert(packed.end(), from, from + shape.row_bytes);
        }
        ASSERT_TRUE(std::ranges::equal(wanted, *target.host_bytes())) << what;
        ASSERT_EQ(done[1].digest, digest_of(packed)) << what;
    }
}

TEST_P(TcpSourceTest, ManyOfAllSizesAtOnce) {
    const std::uint64_t bytes = 6 << 20;
    const auto source = make(bytes);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(bytes);
    std::mt19937_64 random(11);
    std::vector<Transfer> transfers;
    for (std::uint64_t at = 0; at < bytes;) {
        const auto size = std::min<std::uint64_t>(bytes - at, random() % 5 == 0 ? random() % 300'000 : random() % 3'000);
        transfers.push_back({.remote_offset = at, .local = &target, .local_offset = at, .row_bytes = size, .want_digest = true, .ticket = transfers.size()});
        at += size;
    }
    std::ranges::shuffle(transfers, random);
    std::map<std::uint64_t, Completion> done;
    for (std::size_t next = 0; next < transfers.size() || done.size() < transfers.size();) {
        next += channel->submit(std::span(transfers).subspan(next)).value();
        std::array<Completion, 100> some;
        const auto got = channel->wait(some, kSoon);
        ASSERT_OK(got);
        for (std::size_t i = 0; i < *got; ++i) ASSERT_TRUE(done.emplace(some[i].ticket, some[i]).second);
    }
    for (const auto& transfer : transfers) {
        ASSERT_OK(done[transfer.ticket].status);
        ASSERT_EQ(done[transfer.ticket].digest, digest_of({expected(source) + transfer.remote_offset, transfer.row_bytes}));
    }
    EXPECT_EQ(std::memcmp(expected(source), target.address, bytes), 0);
}

INSTANTIATE_TEST_SUITE_P(Sources, TcpSourceTest,
                         ::testing::Values(Source{"slab", true}, Source{"slab", false}, Source{"host", true}, Source{"host", false}, Source{"file", true}),
                         [](const auto& info) { return info.param.name + (info.param.splice ? "" : "_copied"); });

TEST_F(TcpTest, WritesWhereItIsAllowed) {
    const auto shared = slab_region(3 << 20, 1);
    const auto exposure = expose(shared, {.allow_write = true});
    const auto channel = attach(*exposure);
    const auto local = host_region(3 << 20, 2);
    const std::vector<Transfer> transfers{
        {.op = Op::write, .remote_offset = 1, .local = &local, .local_offset = 3, .row_bytes = 2'000'000, .ticket = 0},
        {.op = Op::write, .remote_offset = 2'100'000, .remote_stride = 100, .local = &local, .local_offset = 0, .local_stride = 64, .row_bytes = 50,
         .rows = 5'000, .ticket = 1},
        {.op = Op::write, .remote_offset = 0, .local = &local, .local_offset = 9, .row_bytes = 0, .ticket = 2},
        {.op = Op::read, .remote_offset = 1, .local = &local, .local_offset = 3, .row_bytes = 2'000'000, .want_digest = true, .ticket = 3},
    };
    const auto before = digest_of(local.host_bytes()->subspan(3, 2'000'000));
    EXPECT_EQ(channel->submit(transfers).value(), 4U);
    auto done = wait_all(*channel, 4);
    for (auto& [ticket, completion] : done) EXPECT_OK(completion.status) << ticket;
    EXPECT_EQ(done[3].digest, before);
    EXPECT_TRUE(std::ranges::equal(shared.host_bytes()->subspan(1, 2'000'000), local.host_bytes()->subspan(3, 2'000'000)));
    for (std::size_t row = 0; row < 5'000; ++row) {
        ASSERT_EQ(std::memcmp(shared.address + 2'100'000 + row * 100, local.address + row * 64, 50), 0) << row;
    }
}

TEST_F(TcpTest, WritesAndReadsThatFillBothSocketsDontBlockEachOther) {
    const std::uint64_t bytes = 48 << 20;
    const auto shared = slab_region(2 * bytes, 1);
    const auto exposure = expose(shared, {.allow_write = true});
    const auto channel = attach(*exposure);
    const auto local = host_region(2 * bytes, 2);
    std::vector<Transfer> transfers;
    const std::uint64_t piece = 4 << 20;
    for (std::uint64_t at = 0; at < bytes; at += piece) {
        transfers.push_back({.op = Op::read, .remote_offset = at, .local = &local, .local_offset = at, .row_bytes = piece, .ticket = transfers.size()});
        transfers.push_back({.op = Op::write, .remote_offset = bytes + at, .local = &local, .local_offset = bytes + at, .row_bytes = piece, .ticket = transfers.size()});
    }
    EXPECT_EQ(channel->submit(transfers).value(), transfers.size());
    for (auto& [ticket, completion] : wait_all(*channel, transfers.size())) EXPECT_OK(completion.status);
    EXPECT_EQ(std::memcmp(shared.address, local.address, 2 * bytes), 0);
}

TEST_F(TcpTest, WritesIntoAFileAreAllOrAnError) {
    testing::TemporaryDirectory directory;
    const auto path = directory / "target";
    ASSERT_EQ(::truncate(path.c_str(), 0), -1);
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ASSERT_EQ(::ftruncate(fd, 1 << 20), 0);
    const auto exposure = expose(open_file_region(path, true).value(), {.allow_write = true});
    const auto channel = attach(*exposure);
    const auto local = host_region(1 << 20, 8);
    const Transfer transfer{.op = Op::write, .remote_offset = 5, .local = &local, .row_bytes = 900'000};
    ASSERT_OK(channel->submit({&transfer, 1}));
    EXPECT_OK(wait_all(*channel, 1)[0].status);
    std::vector<std::byte> back(900'000);
    ASSERT_EQ(::pread(fd, back.data(), back.size(), 5), static_cast<ssize_t>(back.size()));
    ::close(fd);
    EXPECT_EQ(std::memcmp(back.data(), local.address, back.size()), 0);
}

TEST_F(TcpTest, RefusesAWriteThatIsNotAllowed) {
    const auto shared = slab_region(1 << 20, 1);
    const auto exposure = expose(shared);
    const auto channel = attach(*exposure);
    const auto local = host_region(1 << 20, 2);
    const Transfer transfer{.op = Op::write, .local = &local, .row_bytes = 100, .ticket = 4};
    EXPECT_EQ(channel->submit({&transfer, 1}).value(), 1U);
    EXPECT_THAT(wait_all(*channel, 1)[4].status, HasCode(Code::unsupported));
}

TEST_F(TcpTest, ATransferOutsideARegionIsACompletion) {
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(1 << 20);
    const auto max = ~std::uint64_t{0};
    const std::vector<Transfer> transfers{
        {.remote_offset = 1, .local = &target, .row_bytes = 1 << 20, .ticket = 0},
        {.remote_offset = max, .local = &target, .row_bytes = 2, .ticket = 1},
        {.local = &target, .row_bytes = max, .rows = max, .ticket = 2},
        {.remote_stride = max / 2, .local = &target, .local_stride = 8, .row_bytes = 8, .rows = 4, .ticket = 3},
        {.local = &target, .local_offset = 1 << 20, .row_bytes = 1, .ticket = 4},
        {.remote_stride = 4, .local = &target, .local_stride = 8, .row_bytes = 8, .rows = 2, .ticket = 5},
        {.local = nullptr, .row_bytes = 8, .ticket = 6},
        {.local = &target, .row_bytes = 8, .ticket = 7},
    };
    EXPECT_EQ(channel->submit(transfers).value(), transfers.size());
    auto done = wait_all(*channel, transfers.size());
    for (std::uint64_t ticket = 0; ticket < 7; ++ticket) EXPECT_THAT(done[ticket].status, HasCode(Code::invalid_argument)) << ticket;
    EXPECT_OK(done[7].status);
}

TEST_F(TcpTest, AFullQueueIsAnAnswer) {
    auto few = options();
    few.max_outstanding = 10;
    receiver_ = make_tcp_transport(few).value();
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(1 << 20);
    std::vector<Transfer> transfers;
    for (std::uint64_t i = 0; i < 25; ++i) transfers.push_back({.remote_offset = i, .local = &target, .local_offset = i, .row_bytes = 1, .ticket = i});
    EXPECT_EQ(channel->submit(transfers).value(), 10U);
    EXPECT_EQ(channel->submit(std::span(transfers).subspan(10)).value(), 0U);
    EXPECT_EQ(wait_all(*channel, 10).size(), 10U);
    EXPECT_EQ(channel->submit(std::span(transfers).subspan(10)).value(), 10U);
    EXPECT_EQ(wait_all(*channel, 10).size(), 10U);
}

TEST_F(TcpTest, WaitAnswersAtItsDeadline) {
    const auto source = slab_region(64 << 20, 1);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    std::array<Completion, 4> some;
    EXPECT_EQ(channel->wait(some, kSoon).value(), 0U) << "nothing is under way";
    const auto target = host_region(64 << 20);
    const Transfer transfer{.local = &target, .row_bytes = 64 << 20, .want_digest = true, .ticket = 2};
    ASSERT_OK(channel->submit({&transfer, 1}));
    EXPECT_EQ(channel->wait(some, Deadline::now()).value(), 0U);
    // A deadline that passes before wait looks at it is a poll, which gives no completion. One that it sees ends in
    // timed_out, long before 64 MiB are there.
    bool timed_out = false;
    for (int i = 0; i < 20 && !timed_out; ++i) {
        const auto early = channel->wait(some, 200us);
        if (early) {
            ASSERT_EQ(*early, 0U);
        } else {
            ASSERT_THAT(early, HasCode(Code::timed_out));
            timed_out = true;
        }
    }
    EXPECT_TRUE(timed_out);
    EXPECT_EQ(wait_all(*channel, 1)[2].digest, digest_of(*source.host_bytes()));
}

TEST_F(TcpTest, AGenerationThatMovedBeforeIsRefused) {
    auto slab = SharedSlab::make({.bytes = 1 << 20, .huge_pages = false}).value();
    slab->page().generation = 6;
    const auto exposure = expose(SharedSlab::region(slab), {.generation = &slab->page().generation});
    const auto channel = attach(*exposure);
    EXPECT_EQ(channel->generation(), std::nullopt);
    const auto target = host_region(1 << 20);
    const std::vector<Transfer> transfers{{.local = &target, .row_bytes = 100, .generation = 6, .ticket = 0},
                                          {.local = &target, .row_bytes = 100, .generation = 4, .ticket = 1},
                                          {.local = &target, .row_bytes = 100, .generation = 0, .ticket = 2},
                                          {.local = &target, .row_bytes = 100, .generation = 6, .ticket = 3},
                                          {.local = &target, .row_bytes = 0, .generation = 8, .ticket = 4}};
    ASSERT_OK(channel->submit(transfers));
    auto done = wait_all(*channel, 5);
    EXPECT_OK(done[0].status);
    EXPECT_THAT(done[1].status, HasError(Code::corrupt, "generation 4"));
    EXPECT_OK(done[2].status);
    EXPECT_OK(done[3].status);
    EXPECT_THAT(done[4].status, HasCode(Code::corrupt));
    slab->page().generation = 7;
    const Transfer again{.local = &target, .row_bytes = 0, .generation = 6, .ticket = 5};
    ASSERT_OK(channel->submit({&again, 1}));
    EXPECT_THAT(wait_all(*channel, 1)[5].status, HasCode(Code::corrupt)) << "a read of nothing asks for the generation";
}

// The transfer is far larger than what two sockets hold, so it can't have been sent before the generation moves.
TEST_F(TcpTest, AGenerationThatMovesMeanwhileMakesTheBytesCorrupt) {
    auto slab = SharedSlab::make({.bytes = 128 << 20, .huge_pages = false}).value();
    slab->page().generation = 2;
    std::memset(SharedSlab::region(slab).address, 7, 4096);
    const auto exposure = expose(SharedSlab::region(slab), {.generation = &slab->page().generation});
    const auto channel = attach(*exposure);
    const auto target = host_region(128 << 20);
    const std::vector<Transfer> transfers{{.local = &target, .row_bytes = 128 << 20, .generation = 2, .ticket = 0}, {.local = &target, .row_bytes = 10, .ticket = 1}};
    ASSERT_OK(channel->submit(transfers));
    wait_for_first_byte(*channel, target);
    slab->page().generation = 3;
    auto done = wait_all(*channel, 2);
    EXPECT_THAT(done[0].status, HasCode(Code::corrupt));
    EXPECT_FALSE(done[0].digest);
    EXPECT_OK(done[1].status);
}

TEST_F(TcpTest, SaysWhatItCantDo) {
    EXPECT_FALSE(exporter_->capabilities().map);
    EXPECT_FALSE(exporter_->capabilities().device);
    EXPECT_FALSE(exporter_->capabilities().same_host_only);
    const auto source = slab_region(4096, 1);
    const auto exposure = expose(source);
    EXPECT_THAT(attach(*exposure)->map(), HasCode(Code::unsupported));
    Region device;
    device.kind = MemoryKind::device;
    device.bytes = 10;
    EXPECT_THAT(exporter_->expose(device, {}), HasCode(Code::unsupported));
    auto wildcard = options();
    wildcard.listen_host = "0.0.0.0";
    EXPECT_THAT(make_tcp_transport(wildcard), HasError(Code::invalid_argument, "advertise"));
    auto taken = options();
    const auto address = exposure->descriptor().bytes;
    taken.listen_host = "no.such.host.invalid";
    EXPECT_FALSE(make_tcp_transport(taken).value()->expose(source, {}));
}

}  // namespace
}  // namespace wsync
