#include "measure/mapped_page.hpp"

#include "memory/slab.hpp"
#include "result_matchers.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;

std::shared_ptr<SharedSlab> slab_of(std::uint64_t bytes) {
    SlabOptions options;
    options.bytes = bytes;
    options.name = "page-test";
    options.huge_pages = false;
    return SharedSlab::make(options).value();
}

TEST(MappedPage, TwoMapsOfOneSlabAreOneObject) {
    const auto slab = slab_of(64 * 1024);
    const auto region = SharedSlab::region(slab);
    const auto mapped = MappedSlab::map(UniqueFd(::fcntl(slab->fd(), F_DUPFD_CLOEXEC, 0)), {}).value();
    const auto other = MappedSlab::region(mapped);
    region.address[8192] = std::byte{42};
    ASSERT_EQ(other.address[8192], std::byte{42});

    const auto ours = mapped_page(region.address + 8192).value();
    const auto theirs = mapped_page(other.address + 8192).value();
    EXPECT_NE(ours.address, theirs.address);
    EXPECT_EQ(ours.inode, slab->inode());
    EXPECT_EQ(ours.inode, theirs.inode);
    EXPECT_EQ(ours.device, theirs.device);
    EXPECT_EQ(ours.file_offset, 8192U);
    EXPECT_EQ(theirs.file_offset, 8192U);
    EXPECT_EQ(theirs.permissions, "r--s");
    EXPECT_NE(ours.object.find("memfd:page-test"), std::string::npos);
    EXPECT_EQ(physical_frame(region.address + 8192), physical_frame(other.address + 8192));
}

TEST(MappedPage, SaysTheSealsOfASlab) {
    const auto slab = slab_of(4096);
    const auto page = mapped_page(SharedSlab::region(slab).address).value();
    EXPECT_EQ(seals_of(page).value(), (std::vector<std::string>{"shrink", "grow", "future_write", "seal"}));
}

TEST(MappedPage, PrivateMemoryHasNoObjectAndAHoleHasNothing) {
    int here = 7;
    const auto page = mapped_page(&here).value();
    EXPECT_EQ(page.inode, 0U);
    EXPECT_EQ(page.permissions[3], 'p');
    void* address = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(address, MAP_FAILED);
    EXPECT_FALSE(physical_frame(address).has_value());  // never touched
    ASSERT_EQ(::munmap(address, 4096), 0);
    EXPECT_THAT(mapped_page(address), HasCode(Code::not_found));
    EXPECT_THAT(mapped_page(nullptr), HasCode(Code::not_found));
}

TEST(MappedPage, SealsNeedADescriptorOfThatObject) {
    MappedPage page;
    page.inode = ~std::uint64_t{0};
    page.object = "nothing";
    EXPECT_THAT(seals_of(page), HasError(Code::not_found, "nothing"));
}

}  // namespace
}  // namespace wsync
