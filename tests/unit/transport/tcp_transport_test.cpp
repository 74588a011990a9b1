#include "transport/tcp/tcp_transport.hpp"

#include "memory/file_region.hpp"
#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"

#include "result_matchers.hpp"
#include "temporary_directory.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <random>
#include <thread>
#include <unistd.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

constexpr auto kSoon = 20s;

Secret secret_of(int seed) {
    Secret secret{};
    secret.fill(static_cast<std::byte>(seed));
    return secret;
}

void fill(std::span<std::byte> bytes, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        const auto word = random();
        std::memcpy(bytes.data() + at, &word, 8);
    }
    for (; at < bytes.size(); ++at) bytes[at] = static_cast<std::byte>(random());
}

Region host_region(std::uint64_t bytes, std::uint64_t seed = 0) {
    auto buffer = HostBuffer::make({.bytes = bytes, .huge_pages = false}).value();
    if (seed != 0) fill(buffer->bytes(), seed);
    return HostBuffer::region(buffer);
}

Region slab_region(std::uint64_t bytes, std::uint64_t seed) {
    auto slab = SharedSlab::make({.bytes = bytes, .huge_pages = false}).value();
    auto region = SharedSlab::region(slab);
    fill(*region.host_bytes(), seed);
    return region;
}

std::map<std::uint64_t, Completion> wait_all(Channel& channel, std::size_t count) {
    std::map<std::uint64_t, Completion> done;
    std::array<Completion, 64> some;
    while (done.size() < count) {
        auto got = channel.wait(some, kSoon);
        if (!got || *got == 0) {
            ADD_FAILURE() << (got ? "nothing under way" : got.error().to_string()) << " after " << done.size() << " of " << count;
            break;
        }
        for (std::size_t i = 0; i < *got; ++i) EXPECT_TRUE(done.emplace(some[i].ticket, some[i]).second) << "ticket " << some[i].ticket << " twice";
    }
    return done;
}

// Until the first byte of a transfer to the (zero) front of `target` is there; its source must not begin with zeros.
void wait_for_first_byte(Channel& channel, const Region& target) {
    std::array<Completion, 1> one;
    while (std::ranges::all_of(target.host_bytes()->first(8), [](std::byte byte) { return byte == std::byte{0}; })) {
        ASSERT_EQ(channel.wait(one, Deadline::now()).value(), 0U);
    }
}

// An exporter and a receiver in one process, with transports of their own.
class TcpTest : public ::testing::Test {
protected:
    static TcpOptions options() {
        TcpOptions made;
        made.secret = secret_of(1);
        return made;
    }
    std::unique_ptr<Channel> attach(const Exposure& exposure) { return receiver_->attach(exposure.descriptor(), {}).value(); }
    std::unique_ptr<Exposure> expose(const Region& region, const ExposeOptions& expose_options = {}) {
        return exporter_->expose(region, expose_options).value();
    }

    std::unique_ptr<Transport> exporter_ = make_tcp_transport(options()).value();
    std::unique_ptr<Transport> receiver_ = make_tcp_transport(options()).value();
};

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
    // A deadline that has passed before wait looks at it is a poll: no completion then, Error{timed_out} otherwise.
    const auto early = channel->wait(some, 1ms);
    EXPECT_TRUE(early ? *early == 0 : early.error().code == Code::timed_out);
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

TEST_F(TcpTest, CloseRefusesNewWork) {
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(1 << 20);
    const Transfer transfer{.local = &target, .row_bytes = 100, .ticket = 1};
    ASSERT_OK(channel->submit({&transfer, 1}));
    EXPECT_OK(wait_all(*channel, 1)[1].status);
    EXPECT_OK(exposure->close(kSoon));
    ASSERT_OK(channel->submit({&transfer, 1}));
    EXPECT_THAT(wait_all(*channel, 1)[1].status, HasCode(Code::unavailable));
    EXPECT_THAT(receiver_->attach(exposure->descriptor(), {}), HasCode(Code::not_found));
    EXPECT_OK(exposure->close(kSoon));
}

TEST_F(TcpTest, CloseWaitsForBytesThatArePulledStill) {
    auto source = slab_region(64 << 20, 1);
    const std::weak_ptr<const void> alive = source.owner;
    const auto expected = digest_of(*source.host_bytes());
    const auto exposure = expose(source);
    source = Region{};
    const auto channel = attach(*exposure);
    const auto target = host_region(64 << 20);
    const Transfer transfer{.local = &target, .row_bytes = 64 << 20, .want_digest = true, .ticket = 1};
    ASSERT_OK(channel->submit({&transfer, 1}));
    wait_for_first_byte(*channel, target);
    EXPECT_THAT(exposure->close(50ms), HasError(Code::timed_out, "127.0.0.1"));
    EXPECT_FALSE(alive.expired()) << "memory under way was let go";
    EXPECT_EQ(wait_all(*channel, 1)[1].digest, expected);
    EXPECT_OK(exposure->close(kSoon));
    EXPECT_TRUE(alive.expired()) << "closed, and still held";
}

TEST_F(TcpTest, AnExposureThatIsDroppedUnderAPullBreaksIt) {
    auto source = slab_region(64 << 20, 1);
    const std::weak_ptr<const void> alive = source.owner;
    auto exposure = expose(source);
    source = Region{};
    const auto channel = attach(*exposure);
    const auto target = host_region(64 << 20);
    const Transfer transfer{.local = &target, .row_bytes = 64 << 20, .ticket = 1};
    ASSERT_OK(channel->submit({&transfer, 1}));
    wait_for_first_byte(*channel, target);
    exposure.reset();
    EXPECT_TRUE(alive.expired());
    EXPECT_THAT(wait_all(*channel, 1)[1].status, HasCode(Code::peer_lost));
}

TEST_F(TcpTest, AClosedChannelCancelsOnceAndTakesNoMore) {
    const auto source = slab_region(32 << 20, 1);
    const auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(32 << 20);
    std::vector<Transfer> transfers;
    for (std::uint64_t i = 0; i < 32; ++i) transfers.push_back({.remote_offset = i << 20, .local = &target, .local_offset = i << 20, .row_bytes = 1 << 20, .ticket = i});
    ASSERT_OK(channel->submit(transfers));
    channel->close();
    channel->close();
    auto done = wait_all(*channel, 32);
    for (auto& [ticket, completion] : done) EXPECT_THAT(completion.status, HasCode(Code::cancelled));
    EXPECT_THAT(channel->submit(transfers), HasCode(Code::cancelled));
    std::array<Completion, 1> one;
    EXPECT_EQ(channel->wait(one, kSoon).value(), 0U);
    EXPECT_OK(exposure->close(kSoon)) << "a peer that left has nothing under way";
}

TEST_F(TcpTest, TheExportersEndIsTheTransfersEnd) {
    const auto source = slab_region(64 << 20, 1);
    auto exposure = expose(source);
    const auto channel = attach(*exposure);
    const auto target = host_region(64 << 20);
    const std::vector<Transfer> transfers{{.local = &target, .row_bytes = 64 << 20, .ticket = 0}, {.local = &target, .row_bytes = 1, .ticket = 1}};
    ASSERT_OK(channel->submit(transfers));
    wait_for_first_byte(*channel, target);
    exporter_.reset();
    for (auto& [ticket, completion] : wait_all(*channel, 2)) EXPECT_THAT(completion.status, HasCode(Code::peer_lost));
    EXPECT_THAT(channel->submit(transfers), HasCode(Code::peer_lost));
    EXPECT_THAT(receiver_->attach(exposure->descriptor(), {.deadline = 5s}), HasCode(Code::unavailable));
}

TEST_F(TcpTest, AWrongSecretIsRefused) {
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    auto other = options();
    other.secret = secret_of(2);
    const auto stranger = make_tcp_transport(other).value();
    EXPECT_THAT(stranger->attach(exposure->descriptor(), {}), HasError(Code::invalid_argument, "secret"));
}

TEST_F(TcpTest, ADescriptorOfAnotherExposureIsRefused) {
    const auto source = slab_region(1 << 20, 1);
    const auto exposure = expose(source);
    auto descriptor = exposure->descriptor();
    EXPECT_EQ(descriptor.transport, "tcp");
    for (std::size_t n = 0; n < descriptor.bytes.size(); n += 3) {
        auto part = descriptor;
        part.bytes.resize(n);
        EXPECT_FALSE(receiver_->attach(part, {.deadline = 2s})) << n;
    }
    const auto other = make_tcp_transport(options()).value();
    const auto theirs = other->expose(source, {}).value();
    descriptor.transport = "shm";
    EXPECT_THAT(receiver_->attach(descriptor, {}), HasCode(Code::invalid_argument));
}

TEST_F(TcpTest, AnAttachedFileThatShrinksIsAnErrorAndTheStreamGoesOn) {
    testing::TemporaryDirectory directory;
    const auto path = directory / "weights";
    const auto bytes = host_region(4 << 20, 2);
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ASSERT_EQ(::write(fd, bytes.address, bytes.bytes), 4 << 20);
    const auto exposure = expose(open_file_region(path, false).value());
    ASSERT_EQ(::ftruncate(fd, 1 << 20), 0);
    ::close(fd);
    const auto channel = attach(*exposure);
    const auto target = host_region(4 << 20);
    const std::vector<Transfer> transfers{{.local = &target, .row_bytes = 4 << 20, .want_digest = true, .ticket = 0}, {.local = &target, .row_bytes = 1 << 20, .want_digest = true, .ticket = 1}};
    ASSERT_OK(channel->submit(transfers));
    auto done = wait_all(*channel, 2);
    EXPECT_THAT(done[0].status, HasError(Code::io_error, "file"));
    ASSERT_OK(done[1].status);
    EXPECT_EQ(done[1].digest, digest_of({bytes.address, 1 << 20}));
}

TEST_F(TcpTest, ManyChannelsFromManyThreads) {
    const std::uint64_t bytes = 8 << 20;
    const auto source = slab_region(bytes, 1);
    const auto exposure = expose(source);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int t = 0; t < 6; ++t) {
        threads.emplace_back([&] {
            const auto channel = attach(*exposure);
            const auto target = host_region(bytes);
            for (int round = 0; round < 5; ++round) {
                std::vector<Transfer> transfers;
                for (std::uint64_t i = 0; i < 64; ++i) {
                    transfers.push_back({.remote_offset = i << 17, .local = &target, .local_offset = i << 17, .row_bytes = 1 << 17, .want_digest = true, .ticket = i});
                }
                if (channel->submit(transfers).value() != 64) return;
                for (auto& [ticket, completion] : wait_all(*channel, 64)) {
                    if (!completion.status || completion.digest != digest_of({source.address + (ticket << 17), 1 << 17})) return;
                }
            }
            ++good;
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(good, 6);
    EXPECT_OK(exposure->close(kSoon));
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
