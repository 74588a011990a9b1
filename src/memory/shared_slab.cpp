#include "base/secret.hpp"
#include "memory/ledger.hpp"
#include "memory/mapping.hpp"
#include "memory/memory_limit.hpp"
#include "memory/prefault.hpp"
#include "memory/slab.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace wsync {
namespace {

Result<UniqueFd> make_memfd(const std::string& name, std::uint64_t bytes) {
    constexpr std::size_t kLongestName = 249;  // the kernel's
    if (name.size() > kLongestName || name.find('\0') != std::string::npos) {
        return Error{Code::invalid_argument, fmt::format("a slab's name has at most {} characters and no NUL", kLongestName)};
    }
    UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL));
    if (!fd && errno == EINVAL) fd.reset(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));  // before Linux 6.3
    if (!fd) return errno_error(errno, fmt::format("memfd_create({})", name));
    // Past RLIMIT_FSIZE the kernel would kill the process with SIGXFSZ.
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur) {
        return Error{Code::resource_exhausted, fmt::format("a slab of {} bytes is larger than RLIMIT_FSIZE ({}); raise ulimit -f", bytes, limit.rlim_cur)};
    }
    while (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
        if (errno != EINTR) return errno_error(errno, fmt::format("sizing memfd {} to {} bytes", name, bytes));
    }
    return fd;
}

// Best effort: 2 MiB pages under every whole 2 MiB of the data. True when all were obtained. The slab is new: one small
// page in each 2 MiB is enough for the kernel to collapse it, and it zeroes the holes itself; populating everything
// first would cost 20 times as much.
bool collapse(std::span<std::byte> data, unsigned threads) {
    auto whole = data.size() / kHugePageBytes * kHugePageBytes;
    if (whole == 0) return false;
    return for_each_piece(data.first(whole), threads, [](std::span<std::byte> piece) -> Status {
               for (std::size_t at = 0; at < piece.size(); at += kHugePageBytes) {
                   WSYNC_TRY_VOID(populate_write(piece.subspan(at, kPageBytes), 1));
               }
               // One call for all of it: each call makes every processor drain its lists, and waits for them.
               if (::madvise(piece.data(), piece.size(), MADV_COLLAPSE) == 0) return {};
               // Somewhere a page was in use for a moment (being migrated or reclaimed), or no huge page was left: take
               // what can be had.
               Status first;
               for (std::size_t at = 0; at < piece.size(); at += kHugePageBytes) {
                   if (::madvise(piece.data() + at, kHugePageBytes, MADV_COLLAPSE) == 0) continue;
                   auto number = errno;
                   if (first) first = errno_error(number, "MADV_COLLAPSE");
                   if (number == EINVAL) break;  // a kernel without it
               }
               return first;
           }).has_value();
}

}  // namespace

Result<std::shared_ptr<SharedSlab>> SharedSlab::make(const SlabOptions& options) {
    auto what = fmt::format("slab {} of {} bytes", options.name, options.bytes);
    if (options.bytes == 0) return Error{Code::invalid_argument, fmt::format("{}: a slab has at least one byte", what)};
    WSYNC_TRY(auto data, whole_pages(options.bytes));
    auto mapped = data + kPageBytes;
    WSYNC_TRY_VOID(check_memory(mapped, what));
    WSYNC_TRY(auto nonce, random_nonce());

    std::shared_ptr<SharedSlab> slab(new SharedSlab);
    WSYNC_TRY(slab->fd_, make_memfd(options.name, mapped).within(what));
    struct stat status {};
    if (::fstat(slab->fd_.get(), &status) != 0) return errno_error(errno, fmt::format("fstat of {}", what));
    slab->inode_ = status.st_ino;
    WSYNC_TRY(slab->address_, map_aligned(mapped, slab->fd_.get(), true).within(what));
    slab->data_bytes_ = options.bytes;
    slab->mapped_bytes_ = mapped;

    // A forked child must neither keep the slab alive nor write to it.
    if (::madvise(slab->address_, mapped, MADV_DONTFORK) != 0) return errno_error(errno, fmt::format("MADV_DONTFORK of {}", what));
    if (options.huge_pages) slab->huge_ = collapse({slab->address_, data}, options.populate_threads);
    WSYNC_TRY_VOID(populate_write({slab->address_, mapped}, options.populate_threads).within(what));

    auto* page = new (slab->address_ + data) SlabPage;
    std::copy(nonce.begin(), nonce.end(), page->nonce.begin());
    page->data_bytes = options.bytes;

    // FUTURE_WRITE leaves the mapping that exists writable and refuses every other: receivers can only read.
    if (::fcntl(slab->fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
        return errno_error(errno, fmt::format("sealing {} (needs Linux 5.1)", what));
    }
    if (options.ledger != nullptr) {
        slab->role_ = options.role;
        slab->ledger_ = options.ledger;
        slab->ledger_->add(slab->role_, mapped);
    }
    return slab;
}

SharedSlab::~SharedSlab() {
    if (address_ != nullptr) ::munmap(address_, mapped_bytes_);
    if (ledger_ != nullptr) ledger_->remove(role_, mapped_bytes_);
}

Region SharedSlab::region(const std::shared_ptr<SharedSlab>& slab) {
    Region region;
    region.kind = MemoryKind::shared;
    region.address = slab->address_;
    region.bytes = slab->data_bytes_;
    region.writable = true;
    region.fd = slab->fd_.get();
    region.owner = slab;
    return region;
}

SlabPage& SharedSlab::page() noexcept { return *std::launder(reinterpret_cast<SlabPage*>(address_ + mapped_bytes_ - kPageBytes)); }

}  // namespace wsync
