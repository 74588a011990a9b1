// W, W2, R and P: what the disk under a directory takes and gives.
#include "measure/limit_variants.hpp"
#include "measure/raw_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace wsync {
namespace {

// One way to move a file's bytes, and its name.
struct Way {
    bool ring = false, direct = false;
    RawShape shape;

    [[nodiscard]] std::string name() const {
        auto size = shape.block_bytes % (1 << 20) == 0 ? fmt::format("{} MiB", shape.block_bytes >> 20) : fmt::format("{} KiB", shape.block_bytes >> 10);
        return fmt::format("{}{}, {} x {}", ring ? "io_uring" : "threads", direct ? ", O_DIRECT" : ", buffered", size, shape.depth);
    }
    Status transfer(int fd, bool write, std::span<std::byte> memory) const {
        return ring ? transfer_by_ring(fd, write, memory, shape) : transfer_by_threads(fd, write, memory, shape);
    }
};

// Whether the file system takes direct I/O in truth: some accept the flag and refuse the first request.
bool direct_works(const std::string& directory, std::span<std::byte> memory) {
    auto file = NamelessFile::make(directory, 4096, true);
    return file && file->direct && transfer_by_threads(file->fd.get(), true, memory.first(4096), {4096, 1}).has_value();
}

std::vector<Way> ways_of(const LimitOptions& options, std::span<std::byte> memory, std::vector<RawShape> shapes) {
    bool direct = direct_works(options.directory, memory), ring = have_io_uring();
    std::vector<Way> ways;
    for (auto shape : shapes) {
        // Threads are kept few: their number is what is bounded, and large blocks need no depth.
        if (!ring) shape.depth = std::min(shape.depth, 4U);
        ways.push_back({ring, direct, shape});
    }
    return ways;
}

Status flush(int fd) {
    while (::fdatasync(fd) != 0) {
        if (errno != EINTR) return errno_error(errno, "fdatasync of a probe's file");
    }
    return {};
}

constexpr std::uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
const std::vector<RawShape> kWriteShapes = {{16_MiB, 4}, {4_MiB, 8}};
const std::vector<RawShape> kReadShapes = {{4_MiB, 8}, {4_MiB, 16}, {16_MiB, 4}};

struct DiskProbe {
    std::shared_ptr<LimitBuffers> buffers;
    std::string directory;
    std::uint64_t bytes = 0;
    NamelessFile file{};  // of all kinds but write_fresh

    [[nodiscard]] std::span<std::byte> memory() const { return buffers->buffer->bytes().first(bytes); }

    Result<double> write_fresh(const Way& way) const {
        WSYNC_TRY(auto fresh, NamelessFile::make(directory, bytes, way.direct));
        RateClock clock;
        // Best effort: file systems without it write all the same.
        (void)!::fallocate(fresh.fd.get(), 0, 0, static_cast<off_t>(bytes));
        WSYNC_TRY_VOID(way.transfer(fresh.fd.get(), true, memory()));
        WSYNC_TRY_VOID(flush(fresh.fd.get()));
        return clock.rate(bytes);
    }
    Result<double> write_recycled(const Way& way) const {
        RateClock clock;
        WSYNC_TRY_VOID(way.transfer(file.fd.get(), true, memory()));
        WSYNC_TRY_VOID(flush(file.fd.get()));
        return clock.rate(bytes);
    }
    Result<double> read_cold(const Way& way) const {
        ::posix_fadvise(file.fd.get(), 0, 0, POSIX_FADV_DONTNEED);
        RateClock clock;
        WSYNC_TRY_VOID(way.transfer(file.fd.get(), false, memory()));
        return clock.rate(bytes);
    }
    Result<double> read_warm(const Way& way) const {
        RateClock clock;
        WSYNC_TRY_VOID(way.transfer(file.fd.get(), false, memory()));
        return clock.rate(bytes);
    }
};

}  // namespace

Result<LimitVariants> disk_variants(LimitKind kind, const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers) {
    auto probe = std::make_shared<DiskProbe>(DiskProbe{std::move(buffers), options.directory, options.bytes});
    std::vector<Way> ways;
    Result<double> (DiskProbe::*method)(const Way&) const = nullptr;
    switch (kind) {
        case LimitKind::write_fresh: method = &DiskProbe::write_fresh, ways = ways_of(options, probe->memory(), kWriteShapes); break;
        case LimitKind::write_recycled: method = &DiskProbe::write_recycled, ways = ways_of(options, probe->memory(), kWriteShapes); break;
        case LimitKind::read_cold: method = &DiskProbe::read_cold, ways = ways_of(options, probe->memory(), kReadShapes); break;
        default: method = &DiskProbe::read_warm, ways = {{false, false, {1_MiB, 2}}, {false, false, {4_MiB, 2}}}; break;
    }
    // The files are there, filled and flushed before the first round; P's stays in the page cache.
    if (kind != LimitKind::write_fresh) {
        WSYNC_TRY(probe->file, NamelessFile::make(options.directory, options.bytes, ways.front().direct));
        WSYNC_TRY_VOID(ways.front().transfer(probe->file.fd.get(), true, probe->memory()));
        WSYNC_TRY_VOID(flush(probe->file.fd.get()));
    }
    LimitVariants variants;
    for (const auto& way : ways) variants.push_back({way.name(), [probe, way, method] { return ((*probe).*method)(way); }});
    return variants;
}

}  // namespace wsync
