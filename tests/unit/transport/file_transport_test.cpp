#include "transport/file/file_transport.hpp"

#include "memory/file_region.hpp"
#include "memory/host_buffer.hpp"
#include "memory/ledger.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"
#include "transport/file/file_descriptor.hpp"

#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;
using testing::read_whole_file;
using testing::TemporaryDirectory;

std::byte pattern(std::uint64_t i) { return static_cast<std::byte>((i * 2654435761u) >> 13); }

std::vector<std::byte> patterned(std::uint64_t bytes) {
    std::vector<std::byte> out(bytes);
    for (std::uint64_t i = 0; i < bytes; ++i) out[i] = pattern(i);
    return out;
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(out.good());
}

std::vector<std::byte> read_file(const std::string& path) {
    const auto text = read_whole_file(path);
    const auto bytes = as_bytes_of(text);
    return {bytes.begin(), bytes.end()};
}

void drop_cache(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    ::fdatasync(fd.get());
    ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
}

struct Memory {
    explicit Memory(std::uint64_t bytes) {
        HostBufferOptions options;
        options.bytes = bytes;
        buffer = HostBuffer::make(options).value();
        region = HostBuffer::region(buffer);
    }
    std::shared_ptr<HostBuffer> buffer;
    Region region;
};

// Submits everything and waits for everything; by ticket.
std::map<std::uint64_t, Completion> run(Channel& channel, std::span<const Transfer> transfers) {
    std::map<std::uint64_t, Completion> done;
    std::vector<Completion> out(64);
    const std::size_t total = transfers.size();
    while (done.size() < total) {
        if (!transfers.empty()) {
            auto accepted = channel.submit(transfers);
            if (!accepted) {
                ADD_FAILURE() << accepted.error().to_string();
                return done;
            }
            transfers = transfers.subspan(*accepted);
        }
        auto n = channel.wait(out, 30s);
        if (!n) {
            ADD_FAILURE() << n.error().to_string();
            return done;
        }
        if (*n == 0) break;
        for (std::size_t i = 0; i < *n; ++i) EXPECT_TRUE(done.emplace(out[i].ticket, std::move(out[i])).second) << "a ticket completed twice";
    }
    return done;
}

struct Way {
    const char* name;
    const char* parent;
    FileEngine engine;
    DirectIo direct;
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class FileTransfers : public ::testing::TestWithParam<Way> {
protected:
    FileTransfers() : directory_(GetParam().parent) {}
    FileOptions options() const {
        FileOptions o;
        o.engine = GetParam().engine;
        o.direct = GetParam().direct;
        return o;
    }
    std::unique_ptr<Channel> open(const std::string& path, bool writable, FileOptions o) {
        transport_ = make_file_transport(o).value();
        auto region = open_file_region(path, writable).value();
        ExposeOptions expose;
        expose.allow_write = writable;
        exposure_ = transport_->expose(region, expose).value();
        return transport_->attach(exposure_->descriptor(), {}).value();
    }
    std::unique_ptr<Channel> open(const std::string& path, bool writable) { return open(path, writable, options()); }

    TemporaryDirectory directory_;
    std::unique_ptr<Transport> transport_;
    std::unique_ptr<Exposure> exposure_;
};

INSTANTIATE_TEST_SUITE_P(Ways, FileTransfers,
                         ::testing::Values(Way{"automatic", "/tmp", FileEngine::automatic, DirectIo::automatic},
                                           Way{"always_direct", "/tmp", FileEngine::automatic, DirectIo::always},
                                           Way{"threads_direct", "/tmp", FileEngine::threads, DirectIo::automatic},
                                           Way{"threads_always_direct", "/tmp", FileEngine::threads, DirectIo::always},
                                           Way{"buffered", "/tmp", FileEngine::automatic, DirectIo::never},
                                           Way{"tmpfs", "/dev/shm", FileEngine::automatic, DirectIo::automatic}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(FileTransfers, ReadsEveryByteWhateverThePhase) {
    constexpr std::uint64_t kBytes = 9'000'001;
    const auto content = patterned(kBytes);
    const std::string path = directory_ / "f";
    write_file(path, content);
    for (const bool cold : {true, false}) {
        for (const std::uint64_t remote : {0ull, 8ull, 4096ull, 5000ull}) {
            for (const std::uint64_t local : {0ull, 1ull, 512ull, 5000ull}) {
                if (cold) drop_cache(path);
                auto channel = open(path, false);
                Memory memory(kBytes + 8192);
                Transfer t;
                t.remote_offset = remote;
                t.row_bytes = kBytes - remote;
                t.local = &memory.region;
                t.local_offset = local;
                t.want_digest = true;
                t.ticket = 7;
                const auto done = run(*channel, {&t, 1});
                ASSERT_EQ(done.size(), 1u);
                ASSERT_OK(done.at(7).status);
                const auto expected = std::span(content).subspan(remote);
                EXPECT_EQ(std::memcmp(memory.buffer->bytes().data() + local, expected.data(), expected.size()), 0) << remote << " " << local;
                ASSERT_TRUE(done.at(7).digest.has_value());
                EXPECT_EQ(*done.at(7).digest, digest_of(expected));
                // Nothing in front of and behind the target.
                if (local > 0) {
                    EXPECT_EQ(memory.buffer->bytes()[local - 1], std::byte{0});
                }
                EXPECT_EQ(memory.buffer->bytes()[local + expected.size()], std::byte{0});
            }
        }
    }
}

TEST_P(FileTransfers, WritesEveryByteWhateverThePhaseAndNothingElse) {
    constexpr std::uint64_t kBytes = 21'000'003;
    Memory memory(kBytes + 8192);
    for (std::uint64_t i = 0; i < memory.buffer->bytes().size(); ++i) memory.buffer->bytes()[i] = pattern(i + 99);
    for (const std::uint64_t remote : {0ull, 8ull, 4096ull}) {
        for (const std::uint64_t local : {0ull, 8ull, 512ull}) {
            const std::string path = directory_ / "f";
            auto expected = patterned(kBytes);
            write_file(path, expected);
            auto channel = open(path, true);
            Transfer t;
            t.op = Op::write;
            t.remote_offset = remote;
            t.row_bytes = kBytes - remote - 1;  // the last byte stays
            t.local = &memory.region;
            t.local_offset = local;
            t.want_digest = true;
            const auto done = run(*channel, {&t, 1});
            ASSERT_OK(done.at(0).status);
            const auto source = memory.buffer->bytes().subspan(local, t.row_bytes);
            EXPECT_EQ(done.at(0).digest, digest_of(source));
            std::memcpy(expected.data() + remote, source.data(), source.size());
            channel->close();
            EXPECT_TRUE(read_file(path) == expected) << remote << " " << local;
        }
    }
}

TEST_P(FileTransfers, ManySmallTransfersWithDigestsInOneSubmit) {
    constexpr std::uint64_t kCount = 5000, kEach = 3000;
    const auto content = patterned(kCount * kEach);
    const std::string path = directory_ / "f";
    write_file(path, content);
    drop_cache(path);
    auto channel = open(path, false);
    Memory memory(kCount * 3072);
    std::vector<Transfer> transfers(kCount);
    for (std::uint64_t i = 0; i < kCount; ++i) {
        transfers[i].remote_offset = i * kEach;
        transfers[i].row_bytes = kEach;
        transfers[i].local = &memory.region;
        transfers[i].local_offset = i * 3072;
        transfers[i].want_digest = true;
        transfers[i].ticket = i;
    }
    const auto done = run(*channel, transfers);
    ASSERT_EQ(done.size(), kCount);
    for (std::uint64_t i = 0; i < kCount; ++i) {
        ASSERT_OK(done.at(i).status);
        ASSERT_EQ(done.at(i).digest, digest_of(std::span(content).subspan(i * kEach, kEach))) << i;
        ASSERT_EQ(std::memcmp(memory.buffer->bytes().data() + i * 3072, content.data() + i * kEach, kEach), 0) << i;
    }
}

TEST_P(FileTransfers, RowsInBothDirections) {
    constexpr std::uint64_t kRow = 1500, kStride = 6000, kRows = 2000;
    auto content = patterned(kStride * kRows);
    const std::string path = directory_ / "f";
    write_file(path, content);
    drop_cache(path);
    auto channel = open(path, true);
    Memory memory(kRows * 2000);
    Transfer t;
    t.remote_offset = 123;
    t.remote_stride = kStride;
    t.row_bytes = kRow;
    t.rows = kRows;
    t.local = &memory.region;
    t.local_stride = 2000;
    t.want_digest = true;
    auto done = run(*channel, {&t, 1});
    ASSERT_OK(done.at(0).status);
    Hasher hasher;
    for (std::uint64_t r = 0; r < kRows; ++r) {
        hasher.update(std::span(content).subspan(123 + r * kStride, kRow));
        ASSERT_EQ(std::memcmp(memory.buffer->bytes().data() + r * 2000, content.data() + 123 + r * kStride, kRow), 0) << r;
    }
    EXPECT_EQ(done.at(0).digest, hasher.finish());
    // Back to another place.
    t.op = Op::write;
    t.remote_offset = 3000;
    done = run(*channel, {&t, 1});
    ASSERT_OK(done.at(0).status);
    EXPECT_EQ(done.at(0).digest, hasher.finish());
    for (std::uint64_t r = 0; r < kRows; ++r) std::memcpy(content.data() + 3000 + r * kStride, memory.buffer->bytes().data() + r * 2000, kRow);
    channel->close();
    EXPECT_TRUE(read_file(path) == content);
}

TEST_P(FileTransfers, RefusesWhatLiesOutsideAndCompletesItOnce) {
    write_file(directory_ / "f", patterned(10'000));
    auto channel = open(directory_ / "f", false);
    Memory memory(4096);
    Transfer inside, remote, local, overflow, writing;
    for (Transfer* t : {&inside, &remote, &local, &overflow, &writing}) {
        t->local = &memory.region;
        t->row_bytes = 100;
    }
    remote.remote_offset = 9'901;
    local.local_offset = memory.region.bytes - 99;
    overflow.rows = ~0ull;
    overflow.remote_stride = ~0ull / 3;
    writing.op = Op::write;
    std::vector<Transfer> all{inside, remote, local, overflow, writing};
    for (std::size_t i = 0; i < all.size(); ++i) all[i].ticket = i;
    const auto done = run(*channel, all);
    ASSERT_EQ(done.size(), 5u);
    EXPECT_OK(done.at(0).status);
    for (std::size_t i = 1; i < 4; ++i) EXPECT_THAT(done.at(i).status, HasCode(Code::invalid_argument)) << i;
    EXPECT_THAT(done.at(4).status, HasError(Code::unsupported, "for reading only"));
}

TEST_P(FileTransfers, EmptyTransfersHaveTheDigestOfNothing) {
    write_file(directory_ / "f", patterned(100));
    auto channel = open(directory_ / "f", false);
    Memory memory(4096);
    Transfer t;
    t.local = &memory.region;
    t.want_digest = true;
    const auto done = run(*channel, {&t, 1});
    ASSERT_OK(done.at(0).status);
    EXPECT_EQ(done.at(0).digest, digest_of({}));
}

TEST_P(FileTransfers, AFileThatShrinksIsCorruptAndNamed) {
    constexpr std::uint64_t kBytes = 12'000'000;
    const std::string path = directory_ / "shrinks";
    write_file(path, patterned(kBytes));
    drop_cache(path);
    auto channel = open(path, false);
    ASSERT_EQ(::truncate(path.c_str(), 6'000'000), 0);
    Memory memory(kBytes);
    Transfer t;
    t.row_bytes = kBytes;
    t.local = &memory.region;
    t.want_digest = true;
    const auto done = run(*channel, {&t, 1});
    EXPECT_THAT(done.at(0).status, HasError(Code::corrupt, path + " ends at offset 6000000"));
    EXPECT_FALSE(done.at(0).digest.has_value());
}

TEST_P(FileTransfers, AttachRefusesAnotherFileAndAnotherSize) {
    const std::string path = directory_ / "f";
    write_file(path, patterned(10'000));
    (void)open(path, false);
    write_file(directory_ / "g", patterned(10'000));
    ASSERT_EQ(::rename((directory_ / "g").c_str(), path.c_str()), 0);
    EXPECT_THAT(transport_->attach(exposure_->descriptor(), {}), HasError(Code::not_found, "another file"));
    (void)open(path, false);
    ASSERT_EQ(::truncate(path.c_str(), 9'999), 0);
    EXPECT_THAT(transport_->attach(exposure_->descriptor(), {}), HasError(Code::corrupt, "9999 bytes, not 10000"));
    ASSERT_EQ(::unlink(path.c_str()), 0);
    EXPECT_THAT(transport_->attach(exposure_->descriptor(), {}), HasCode(Code::not_found));
}

TEST_P(FileTransfers, CloseInFlightCompletesEachTicketOnce) {
    constexpr std::uint64_t kBytes = 64 << 20;
    const std::string path = directory_ / "f";
    {
        UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        ASSERT_EQ(::posix_fallocate(fd.get(), 0, kBytes), 0);
    }
    drop_cache(path);
    auto channel = open(path, false);
    Memory memory(kBytes);
    std::vector<Transfer> transfers(64);
    for (std::size_t i = 0; i < transfers.size(); ++i) {
        transfers[i].remote_offset = transfers[i].local_offset = i << 20;
        transfers[i].row_bytes = 1 << 20;
        transfers[i].local = &memory.region;
        transfers[i].ticket = i;
    }
    const auto accepted = channel->submit(transfers);
    ASSERT_OK(accepted);
    channel->close();
    channel->close();
    EXPECT_THAT(channel->submit(transfers), HasCode(Code::cancelled));
    std::map<std::uint64_t, int> seen;
    std::vector<Completion> out(5);
    for (;;) {
        auto n = channel->wait(out, 1s);
        ASSERT_OK(n);
        if (*n == 0) break;
        for (std::size_t i = 0; i < *n; ++i) {
            ++seen[out[i].ticket];
            if (!out[i].status) {
                EXPECT_THAT(out[i].status, HasCode(Code::cancelled));
            }
        }
    }
    EXPECT_EQ(seen.size(), *accepted);
    for (const auto& [ticket, count] : seen) EXPECT_EQ(count, 1) << ticket;
}

TEST_P(FileTransfers, AFullQueueIsAnAnswer) {
    write_file(directory_ / "f", patterned(1 << 20));
    auto channel = open(directory_ / "f", false);
    Memory memory(1 << 20);
    std::vector<Transfer> transfers(20'000);
    for (std::size_t i = 0; i < transfers.size(); ++i) {
        transfers[i].remote_offset = transfers[i].local_offset = (i * 50) % (1 << 20);
        transfers[i].row_bytes = 16;
        transfers[i].local = &memory.region;
        transfers[i].ticket = i;
    }
    const auto accepted = channel->submit(transfers);
    ASSERT_OK(accepted);
    EXPECT_LT(*accepted, transfers.size());
    EXPECT_GT(*accepted, 0u);
}

TEST_P(FileTransfers, PollAnswersAtOnceAndNothingUnderWayIsZero) {
    write_file(directory_ / "f", patterned(100));
    auto channel = open(directory_ / "f", false);
    std::vector<Completion> out(1);
    EXPECT_EQ(channel->wait(out, Deadline::now()).value(), 0u);
    EXPECT_EQ(channel->wait(out, Deadline::never()).value(), 0u);
    EXPECT_THAT(channel->map(), HasCode(Code::unsupported));
    EXPECT_FALSE(channel->generation().has_value());
}

TEST_P(FileTransfers, AChannelMayMoveBetweenThreads) {
    const auto content = patterned(9'000'000);
    write_file(directory_ / "f", content);
    auto channel = open(directory_ / "f", false);
    for (int round = 0; round < 3; ++round) {
        drop_cache(directory_ / "f");
        Memory memory(content.size());
        std::thread([&] {
            Transfer t;
            t.row_bytes = content.size();
            t.local = &memory.region;
            const auto done = run(*channel, {&t, 1});
            EXPECT_OK(done.at(0).status);
        }).join();
        EXPECT_EQ(std::memcmp(memory.buffer->bytes().data(), content.data(), content.size()), 0);
    }
}

TEST(FileTransport, BounceSlotsAreBoundedAndInTheLedger) {
    TemporaryDirectory directory;
    constexpr std::uint64_t kBytes = 100'000'000;
    {
        UniqueFd fd(::open((directory / "f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        ASSERT_EQ(::ftruncate(fd.get(), kBytes), 0);
    }
    drop_cache(directory / "f");
    MemoryLedger ledger;
    FileOptions options;
    options.ledger = &ledger;
    options.direct = DirectIo::always;
    auto transport = make_file_transport(options).value();
    auto exposure = transport->expose(open_file_region(directory / "f", false).value(), {}).value();
    auto channel = transport->attach(exposure->descriptor(), {}).value();
    Memory memory(kBytes + 8);
    Transfer t;
    t.row_bytes = kBytes;
    t.local = &memory.region;
    t.local_offset = 8;
    ASSERT_OK(run(*channel, {&t, 1}).at(0).status);
    EXPECT_GT(ledger.peak(), 0u);
    EXPECT_LE(ledger.peak(), 64u << 20);
    channel.reset();
    EXPECT_EQ(ledger.current(), 0u);
}

TEST(FileTransport, AChannelNamesItsEngine) {
    TemporaryDirectory directory("/dev/shm");
    write_file(directory / "f", patterned(10));
    auto transport = make_file_transport({}).value();
    auto exposure = transport->expose(open_file_region(directory / "f", false).value(), {}).value();
    auto channel = transport->attach(exposure->descriptor(), {}).value();
    EXPECT_EQ(file_engine_name(*channel), "threads, buffered (tmpfs has no device behind it)");
}

TEST(FileTransport, ExposesFilesOnly) {
    auto transport = make_file_transport({}).value();
    Memory memory(4096);
    EXPECT_THAT(transport->expose(memory.region, {}), HasCode(Code::unsupported));
    TemporaryDirectory directory;
    write_file(directory / "f", patterned(10));
    ExposeOptions writing;
    writing.allow_write = true;
    EXPECT_THAT(transport->expose(open_file_region(directory / "f", false).value(), writing), HasCode(Code::invalid_argument));
}

TEST(FileTransport, RefusesDescriptorsOfOthers) {
    TemporaryDirectory directory;
    write_file(directory / "f", patterned(10));
    auto transport = make_file_transport({}).value();
    auto exposure = transport->expose(open_file_region(directory / "f", false).value(), {}).value();
    auto identity = file_transport::decode(exposure->descriptor()).value();
    EXPECT_EQ(file_transport::decode(file_transport::encode(identity)).value(), identity);
    auto elsewhere = identity;
    elsewhere.boot_id = "00000000-0000-0000-0000-000000000000";
    EXPECT_THAT(transport->attach(file_transport::encode(elsewhere), {}), HasError(Code::unsupported, "boot"));
    auto relative = identity;
    relative.path = "f";
    EXPECT_THAT(transport->attach(file_transport::encode(relative), {}), HasCode(Code::corrupt));
    auto outside = identity;
    outside.bytes = 11;
    EXPECT_THAT(transport->attach(file_transport::encode(outside), {}), HasCode(Code::corrupt));
    Descriptor other{"shm", exposure->descriptor().bytes};
    EXPECT_THAT(transport->attach(other, {}), HasCode(Code::invalid_argument));
    Bytes bytes = exposure->descriptor().bytes;
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        Descriptor cut{"file", Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n))};
        EXPECT_THAT(transport->attach(cut, {}), HasCode(Code::corrupt)) << n;
    }
}

}  // namespace
}  // namespace wsync
