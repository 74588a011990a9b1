#include "memory/mapping.hpp"
#include "memory/prefault.hpp"
#include "memory/slab.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

// The part of the page that never changes after the slab was made.
struct PageHead {
    std::uint64_t magic = 0;
    std::uint16_t major = 0, minor = 0;
    std::uint32_t reserved = 0;
    std::array<std::byte, 16> nonce{};
    std::uint64_t data_bytes = 0;
};
static_assert(sizeof(PageHead) == offsetof(SlabPage, generation));

Error corrupt(std::string why) { return Error{Code::corrupt, "not a slab that can be mapped safely: " + std::move(why)}; }

// Everything is judged through the descriptor before anything is mapped. After SHRINK is seen, no size that was
// checked can go away again.
Result<PageHead> check(int fd, struct stat& status) {
    if (::fstat(fd, &status) != 0) return errno_error(errno, "fstat of a slab's descriptor");
    int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals < 0) return corrupt("the descriptor is no memfd");
    if ((seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_GROW) == 0) return corrupt("it is not sealed against shrinking and growing");
    if (::fstat(fd, &status) != 0) return errno_error(errno, "fstat of a slab's descriptor");  // now it stands still
    auto size = static_cast<std::uint64_t>(status.st_size);
    if (status.st_size < 0 || size < 2 * kPageBytes || size % kPageBytes != 0) return corrupt(fmt::format("its size, {} bytes, fits no slab", size));

    PageHead head;
    ssize_t got;
    do got = ::pread(fd, &head, sizeof head, static_cast<off_t>(size - kPageBytes));
    while (got < 0 && errno == EINTR);
    if (got < 0) return errno_error(errno, "reading a slab's page");
    if (got != static_cast<ssize_t>(sizeof head)) return corrupt("its page can't be read whole");
    if (head.magic != kSlabPageMagic) return corrupt(fmt::format("its magic is {:#018x}, not {:#018x}", head.magic, kSlabPageMagic));
    if (head.major != SlabPage{}.major) return corrupt(fmt::format("its format is {}.{}, this build reads {}.x", head.major, head.minor, SlabPage{}.major));
    auto data = size - kPageBytes;
    if (head.data_bytes == 0 || head.data_bytes > data || data - head.data_bytes >= kPageBytes) {
        return corrupt(fmt::format("its page says {} bytes, its size leaves {}", head.data_bytes, data));
    }
    return head;
}

}  // namespace

Result<std::shared_ptr<MappedSlab>> MappedSlab::map(UniqueFd memfd, const Options& options) {
    if (!memfd) return Error{Code::invalid_argument, "no descriptor of a slab was given"};
    struct stat status {};
    WSYNC_TRY(auto head, check(memfd.get(), status));
    std::shared_ptr<MappedSlab> slab(new MappedSlab);
    auto mapped = static_cast<std::uint64_t>(status.st_size);
    WSYNC_TRY(slab->address_, map_aligned(mapped, memfd.get(), false).within("mapping a slab"));
    slab->mapped_bytes_ = mapped;
    slab->data_bytes_ = head.data_bytes;
    slab->inode_ = status.st_ino;
    slab->fd_ = std::move(memfd);
    if (options.populate) WSYNC_TRY_VOID(slab->populate());
    return slab;
}

MappedSlab::~MappedSlab() {
    if (address_ != nullptr) ::munmap(address_, mapped_bytes_);
}

Region MappedSlab::region(const std::shared_ptr<MappedSlab>& slab) {
    Region region;
    region.kind = MemoryKind::shared;
    region.address = slab->address_;
    region.bytes = slab->data_bytes_;
    region.fd = slab->fd_.get();
    region.owner = slab;
    return region;
}

const SlabPage& MappedSlab::page() const noexcept {
    return *std::launder(reinterpret_cast<const SlabPage*>(address_ + mapped_bytes_ - kPageBytes));
}

Status MappedSlab::populate() { return populate_read({address_, mapped_bytes_ - kPageBytes}, 1).within("prefaulting a slab"); }

}  // namespace wsync
