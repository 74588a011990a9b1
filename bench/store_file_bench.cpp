// What a committed version and a verified read reach of the disk itself, in one run.
//
// Every round runs every variant once, in another order each time; the figures are medians, the ratios medians of the
// rounds' ratios to the best probe of the same kind in the same round. Buffers are touched beforehand and used again.
//   store_file_bench [DIRECTORY [MIB [ROUNDS [TENSORS]]]]     default . 512 7 300
#include "memory/file_region.hpp"
#include "memory/host_buffer.hpp"
#include "store/version_reader.hpp"
#include "store/version_writer.hpp"
#include "transport/file/file_transport.hpp"
#include "verify/block_digests.hpp"
#include "verify/blocks.hpp"
#include "wsync/model/catalogue.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <liburing.h>
#include <map>
#include <random>
#include <thread>
#include <unistd.h>

namespace {

using namespace wsync;
using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const std::string& what) {
    std::fprintf(stderr, "store_file_bench: %s\n", what.c_str());
    std::_Exit(1);
}
template <class T>
T must(Result<T> result) {
    if (!result) die(result.error().to_string());
    return *std::move(result);
}
void must(const Status& status) {
    if (!status) die(status.error().to_string());
}

void drop_cache(int fd) {
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

// --- the disk itself

void ring_transfer(int fd, bool write, std::span<std::byte> memory, std::uint64_t block, unsigned depth) {
    io_uring ring{};
    if (::io_uring_queue_init(depth, &ring, 0) != 0) die("no io_uring here");
    std::uint64_t next = 0;
    unsigned in_flight = 0;
    const auto feed = [&] {
        while (in_flight < depth && next < memory.size()) {
            io_uring_sqe* sqe = ::io_uring_get_sqe(&ring);
            const auto bytes = std::min<std::uint64_t>(block, memory.size() - next);
            if (write) ::io_uring_prep_write(sqe, fd, memory.data() + next, static_cast<unsigned>(bytes), next);
            else ::io_uring_prep_read(sqe, fd, memory.data() + next, static_cast<unsigned>(bytes), next);
            ::io_uring_sqe_set_data64(sqe, bytes);
            next += bytes;
            ++in_flight;
        }
    };
    for (feed(); in_flight > 0; feed()) {
        ::io_uring_submit_and_wait(&ring, 1);
        io_uring_cqe* cqe = nullptr;
        while (::io_uring_peek_cqe(&ring, &cqe) == 0) {
            if (cqe->res != static_cast<int>(::io_uring_cqe_get_data64(cqe))) die("a short or failed request of the probe");
            ::io_uring_cqe_seen(&ring, cqe);
            --in_flight;
        }
    }
    ::io_uring_queue_exit(&ring);
}

struct Bench {
    std::string directory;
    Layout layout;
    Placement placement;
    std::shared_ptr<HostBuffer> slab, target;
    std::vector<Region> source, sink;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<FileSystem> files;
    std::unique_ptr<VersionWriter> writer;   // both kept from version to version, as a trainer and a receiver keep them
    std::unique_ptr<VersionReader> reader;
    std::uint64_t number = 0;
    BlockDigests digests;

    [[nodiscard]] std::uint64_t bytes() const { return layout.manifest().bytes(); }
    [[nodiscard]] std::uint64_t aligned() const { return bytes() / 4096 * 4096; }
    [[nodiscard]] std::span<std::byte> memory() const { return slab->bytes().first(aligned()); }

    double timed(const std::function<void()>& run) const {
        const auto begin = Clock::now();
        run();
        return static_cast<double>(bytes()) / 1e9 / std::chrono::duration<double>(Clock::now() - begin).count();
    }
    double probe_fresh(std::uint64_t block, unsigned depth) {
        const std::string path = directory + "/probe-fresh";
        ::unlink(path.c_str());
        const double rate = timed([&] {
            UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
            if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(aligned())) != 0) die("fallocate");
            ring_transfer(fd.get(), true, memory(), block, depth);
            if (::fdatasync(fd.get()) != 0) die("fdatasync");
        });
        ::unlink(path.c_str());
        return rate;
    }
    double probe_recycled(std::uint64_t block, unsigned depth) {
        UniqueFd fd(::open((directory + "/probe").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
        return timed([&] {
            ring_transfer(fd.get(), true, memory(), block, depth);
            if (::fdatasync(fd.get()) != 0) die("fdatasync");
        });
    }
    double probe_cold(std::uint64_t block, unsigned depth) {
        UniqueFd fd(::open((directory + "/probe").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
        drop_cache(fd.get());
        return timed([&] { ring_transfer(fd.get(), false, target->bytes().first(aligned()), block, depth); });
    }
    double probe_warm(std::uint64_t block) {
        UniqueFd fd(::open((directory + "/probe").c_str(), O_RDONLY | O_CLOEXEC));
        const auto half = [&](std::uint64_t first) {
            for (std::uint64_t at = first * block; at < aligned(); at += 2 * block) {
                if (::pread(fd.get(), target->bytes().data() + at, std::min(block, aligned() - at), static_cast<off_t>(at)) <= 0) die("pread");
            }
        };
        half(0);
        half(1);  // in the cache
        return timed([&] {
            std::thread other(half, 1);
            half(0);
            other.join();
        });
    }
    double write(const std::string& root, bool recycle) {
        WriteVersionOptions options;
        options.root = root;
        options.version.name = "bench";
        options.version.epoch = 1;
        options.version.number = ++number;
        options.keep = recycle ? 1 : 0;
        options.recycle = recycle;
        const VersionContent content{&layout, &placement, source, &digests};
        std::string path;
        const double rate = timed([&] { path = must(writer->write(options, content)).path; });
        if (!recycle) must(remove_tree(*files, path));
        return rate;
    }
    double read(const std::string& path, bool cold) {
        const auto opened = must(reader->open(path));
        drop_cache(opened.checkpoint.regions[0].fd);
        if (!cold) read_blocks(path);
        if (!cold) {  // through the page cache, so that it is there
            std::vector<std::byte> piece(1 << 20);
            for (off_t at = 0; ::pread(opened.checkpoint.regions[0].fd, piece.data(), piece.size(), at) > 0;) at += static_cast<off_t>(piece.size());
        }
        return timed([&] { read_blocks(path); });
    }
    // Everything a receiver does: open and prove the directory, move every block, compare every digest.
    void read_blocks(const std::string& path) {
        const auto stored = must(reader->open(path));
        const auto exposure = must(transport->expose(stored.checkpoint.regions[0], {}));
        const auto channel = must(transport->attach(exposure->descriptor(), {}));
        std::vector<Transfer> transfers;
        for (std::size_t s = 0; s < layout.shards_of(0).size(); ++s) {
            const Shard& shard = layout.shards_of(0)[s];
            const BlockCut cut(shard.box, layout.manifest()[shard.tensor].dtype);
            for (std::uint64_t b = 0; b < cut.count(); ++b) {
                Transfer t;
                t.remote_offset = stored.checkpoint.placement.places[s].offset + cut.offset(b);
                t.local = &sink[0];
                t.local_offset = placement.places[s].offset + cut.offset(b);
                t.row_bytes = cut.bytes(b);
                t.want_digest = true;
                t.ticket = transfers.size();
                transfers.push_back(t);
            }
        }
        std::vector<Completion> out(256);
        for (std::size_t submitted = 0, done = 0; done < transfers.size();) {
            if (submitted < transfers.size()) submitted += must(channel->submit(std::span(transfers).subspan(submitted)));
            const auto n = must(channel->wait(out, Deadline::never()));
            for (std::size_t i = 0; i < n; ++i) {
                must(out[i].status);
                if (out[i].digest != stored.digests.digests[out[i].ticket]) die("a digest differs");
            }
            done += n;
        }
    }
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    const std::string parent = argc > 1 ? argv[1] : ".";
    const std::uint64_t mib = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 512;
    const int rounds = argc > 3 ? std::atoi(argv[3]) : 7;
    const auto tensors = static_cast<std::uint32_t>(argc > 4 ? std::atoi(argv[4]) : 300);

    Bench b;
    b.directory = parent + "/wsync-bench-XXXXXX";
    if (::mkdtemp(b.directory.data()) == nullptr) die("no directory in " + parent);
    b.layout = must(Layout::replicated(must(uniform_manifest(tensors, (mib << 20) / tensors / 128 * 128))));
    b.placement = must(pack(b.layout, 0));
    HostBufferOptions buffer;
    buffer.bytes = b.placement.region_bytes[0];
    b.slab = must(HostBuffer::make(buffer));
    b.target = must(HostBuffer::make(buffer));
    b.source = {HostBuffer::region(b.slab)};
    b.sink = {HostBuffer::region(b.target)};
    std::mt19937_64 random(1);
    for (std::size_t i = 0; i + 8 <= b.slab->bytes().size(); i += 8) {
        const std::uint64_t word = random();
        std::memcpy(b.slab->bytes().data() + i, &word, 8);
    }
    b.digests = must(digest_shards(b.layout, 0, b.placement, b.source, default_kernels(), 2));
    b.transport = must(make_file_transport({}));
    b.files = make_file_system(b.transport.get());
    b.writer = std::make_unique<VersionWriter>(*b.files);
    b.reader = std::make_unique<VersionReader>(*b.files);
    const auto engine = must(describe_file_engine(b.directory));
    std::printf("%s on %s, %s; %.0f MB in %u tensors, %d rounds, kernels %.*s\n", engine.filesystem.c_str(), engine.device.c_str(), engine.name().c_str(),
                static_cast<double>(b.bytes()) / 1e6, tensors, rounds, static_cast<int>(default_kernels().name.size()), default_kernels().name.data());

    {
        UniqueFd fd(::open((b.directory + "/probe").c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
        if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(b.aligned())) != 0) die("fallocate");
        ring_transfer(fd.get(), true, b.memory(), 16 << 20, 4);
        ::fdatasync(fd.get());
    }
    const std::string recycled = b.directory + "/recycled", fresh = b.directory + "/fresh", stored = b.directory + "/stored";
    for (int i = 0; i < 3; ++i) b.write(recycled, true);
    WriteVersionOptions options;
    options.root = stored;
    options.version.name = "bench";
    const std::string path = must(write_version(*b.files, options, {&b.layout, &b.placement, b.source, nullptr})).path;

    struct Variant {
        std::string kind, name;
        bool probe;
        std::function<double()> run;
    };
    const std::vector<Variant> variants{
        {"write fresh", "probe 16 MiB x 4", true, [&] { return b.probe_fresh(16 << 20, 4); }},
        {"write fresh", "probe 4 MiB x 8", true, [&] { return b.probe_fresh(4 << 20, 8); }},
        {"write fresh", "committed version", false, [&] { return b.write(fresh, false); }},
        {"write recycled", "probe 16 MiB x 4", true, [&] { return b.probe_recycled(16 << 20, 4); }},
        {"write recycled", "probe 4 MiB x 8", true, [&] { return b.probe_recycled(4 << 20, 8); }},
        {"write recycled", "committed version", false, [&] { return b.write(recycled, true); }},
        {"read cold", "probe 4 MiB x 16", true, [&] { return b.probe_cold(4 << 20, 16); }},
        {"read cold", "probe 4 MiB x 8", true, [&] { return b.probe_cold(4 << 20, 8); }},
        {"read cold", "verified", false, [&] { return b.read(path, true); }},
        {"read warm", "probe pread 2 x 1 MiB", true, [&] { return b.probe_warm(1 << 20); }},
        {"read warm", "probe pread 2 x 4 MiB", true, [&] { return b.probe_warm(4 << 20); }},
        {"read warm", "verified", false, [&] { return b.read(path, false); }},
    };
    std::vector<std::vector<double>> rates(variants.size());
    std::vector<std::size_t> order(variants.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (int round = 0; round < rounds; ++round) {
        std::shuffle(order.begin(), order.end(), random);
        for (const std::size_t i : order) rates[i].push_back(variants[i].run());
    }
    for (std::size_t i = 0; i < variants.size(); ++i) {
        std::vector<double> ratios;
        for (int r = 0; r < rounds; ++r) {
            double best = 0;
            for (std::size_t k = 0; k < variants.size(); ++k)
                if (variants[k].probe && variants[k].kind == variants[i].kind) best = std::max(best, rates[k][static_cast<std::size_t>(r)]);
            ratios.push_back(rates[i][static_cast<std::size_t>(r)] / best);
        }
        const auto [low, high] = std::minmax_element(rates[i].begin(), rates[i].end());
        std::printf("%-15s %-22s %6.2f GB/s [%.2f .. %.2f]   of the best probe %.2f [%.2f .. %.2f]\n", variants[i].kind.c_str(), variants[i].name.c_str(),
                    median(rates[i]), *low, *high, median(ratios), *std::min_element(ratios.begin(), ratios.end()),
                    *std::max_element(ratios.begin(), ratios.end()));
    }
    std::error_code ignored;
    std::filesystem::remove_all(b.directory, ignored);
    return 0;
}
