#include "memory/prefault.hpp"

#include "memory/mapping.hpp"
#include "memory/slab_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <sys/mman.h>
#include <system_error>
#include <thread>
#include <vector>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace wsync {
namespace {

void touch(std::span<std::byte> piece, bool write) {
    for (std::size_t at = 0; at < piece.size(); at += kPageBytes) {
        volatile auto* byte = &piece[at];
        auto value = *byte;
        if (write) *byte = value;
    }
}

Status populate(std::span<std::byte> range, unsigned threads, bool write) {
    return for_each_piece(range, threads, [write](std::span<std::byte> piece) -> Status {
        for (;;) {
            if (::madvise(piece.data(), piece.size(), write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0) return {};
            if (errno == EINTR || errno == EAGAIN) continue;
            break;
        }
        if (errno == EINVAL) {
            touch(piece, write);
            return {};
        }
        // EFAULT is the kernel's word for "touching this would end in SIGBUS": no page could be had.
        auto number = errno == EFAULT ? ENOMEM : errno;
        return errno_error(number, fmt::format("prefaulting {} bytes", piece.size()));
    });
}

}  // namespace

Status for_each_piece(std::span<std::byte> range, unsigned threads, const std::function<Status(std::span<std::byte>)>& work) {
    if (range.empty()) return {};
    auto units = (range.size() + kHugePageBytes - 1) / kHugePageBytes;
    auto count = std::clamp<std::size_t>(threads, 1, std::min<std::size_t>(units, 256));
    auto each = (units + count - 1) / count * kHugePageBytes;
    std::mutex mutex;
    Status first;
    auto run = [&](std::size_t begin) {
        auto status = work(range.subspan(begin, std::min<std::size_t>(each, range.size() - begin)));
        std::lock_guard lock(mutex);
        if (!status.has_value() && first.has_value()) first = std::move(status);
    };
    std::vector<std::thread> workers;
    std::vector<std::size_t> mine{0};  // what this thread does itself
    for (std::size_t begin = each; begin < range.size(); begin += each) {
        try {
            workers.emplace_back(run, begin);
        } catch (const std::system_error&) {
            mine.push_back(begin);
        }
    }
    for (auto begin : mine) run(begin);
    for (auto& worker : workers) worker.join();
    return first;
}

Status populate_write(std::span<std::byte> range, unsigned threads) { return populate(range, threads, true); }
Status populate_read(std::span<std::byte> range, unsigned threads) { return populate(range, threads, false); }

}  // namespace wsync
