#include "transport/shm/shm_transport.hpp"

#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"
#include "transport/shm/attach_frames.hpp"
#include "transport/wire/descriptor.hpp"

#include "result_matchers.hpp"
#include "temporary_directory.hpp"

#include <array>
#include <fstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

constexpr auto kPatience = 30s;

class ShmTest : public ::testing::Test {
protected:
    [[nodiscard]] std::shared_ptr<SharedSlab> slab_of(std::size_t bytes) const {
        SlabOptions options;
        options.bytes = bytes;
        options.huge_pages = false;
        auto slab = SharedSlab::make(options).value();
        const Region region = SharedSlab::region(slab);
        for (std::size_t i = 0; i < bytes; ++i) region.address[i] = static_cast<std::byte>(i * 7);
        return slab;
    }
    [[nodiscard]] std::unique_ptr<Transport> transport(bool populate = false) const {
        ShmOptions options;
        options.socket_directory = directory_ / "sockets";
        options.populate = populate;
        return make_shm_transport(std::move(options)).value();
    }
    testing::TemporaryDirectory directory_;
};

TEST_F(ShmTest, MakesItsDirectoryForItsOwnerOnly) {
    const auto made = transport();
    struct stat status {};
    ASSERT_EQ(0, ::stat((directory_ / "sockets").c_str(), &status));
    EXPECT_EQ(0700U, status.st_mode & 0777U);
    EXPECT_OK(make_shm_transport({.socket_directory = directory_ / "sockets"}));
    { std::ofstream(directory_ / "file") << "x"; }
    EXPECT_THAT(make_shm_transport({.socket_directory = directory_ / "file"}), HasError(Code::invalid_argument, "is no directory"));
    EXPECT_THAT(make_shm_transport({.socket_directory = directory_ / "no/such"}), HasCode(Code::not_found));
    EXPECT_THAT(make_shm_transport({}), HasCode(Code::invalid_argument));
}

TEST_F(ShmTest, OneHandleServesMapsOfTheSamePages) {
    const auto slab = slab_of(10'000);
    const auto both = transport();
    auto exposure = both->expose(SharedSlab::region(slab), {.generation = &slab->page().generation}).value();
    auto channel = both->attach(exposure->descriptor(), {}).value();
    const Region mapped = channel->map().value();
    EXPECT_EQ(MemoryKind::shared, mapped.kind);
    EXPECT_EQ(10'000U, mapped.bytes);
    SharedSlab::region(slab).address[77] = std::byte{0xab};
    EXPECT_EQ(std::byte{0xab}, mapped.address[77]);
    slab->page().generation = 6;
    EXPECT_EQ(6U, channel->generation().value());
    channel->close();
    EXPECT_FALSE(channel->generation().has_value());
    EXPECT_THAT(channel->map(), HasCode(Code::cancelled));
    EXPECT_EQ(std::byte{0xab}, mapped.address[77]);
}

TEST_F(ShmTest, PopulatesWhereItIsAsked) {
    const auto slab = slab_of(1 << 20);
    const auto exporter = transport();
    const auto importer = transport(true);
    auto exposure = exporter->expose(SharedSlab::region(slab), {}).value();
    auto channel = importer->attach(exposure->descriptor(), {}).value();
    const Region mapped = channel->map().value();
    std::array<unsigned char, 256> resident{};
    ASSERT_EQ(0, ::mincore(mapped.address, mapped.bytes, resident.data()));
    for (const auto page : resident) EXPECT_TRUE(page & 1);
}

TEST_F(ShmTest, TheMessageSaysHowTheGenerationMoved) {
    const auto slab = slab_of(5000);
    const auto both = transport();
    auto exposure = both->expose(SharedSlab::region(slab), {.generation = &slab->page().generation}).value();
    auto channel = both->attach(exposure->descriptor(), {}).value();
    HostBufferOptions options;
    options.bytes = 5000;
    const Region target = HostBuffer::region(HostBuffer::make(options).value());
    slab->page().generation = 9;
    const Transfer transfer{.local = &target, .row_bytes = 5000, .generation = 8};
    ASSERT_EQ(1U, channel->submit(std::span(&transfer, 1)).value());
    std::array<Completion, 1> one;
    ASSERT_EQ(1U, channel->wait(one, kPatience).value());
    EXPECT_THAT(one[0].status, HasError(Code::corrupt, "generation moved from 8 to 9: the publisher wrote under the hold"));
}

TEST_F(ShmTest, FencesAreRefused) {
    const auto slab = slab_of(5000);
    const auto both = transport();
    auto exposure = both->expose(SharedSlab::region(slab), {}).value();
    auto channel = both->attach(exposure->descriptor(), {}).value();
    HostBufferOptions options;
    options.bytes = 10;
    const Region target = HostBuffer::region(HostBuffer::make(options).value());
    const Transfer transfer{.local = &target, .row_bytes = 10, .after = {1}};
    ASSERT_EQ(1U, channel->submit(std::span(&transfer, 1)).value());
    std::array<Completion, 1> one;
    ASSERT_EQ(1U, channel->wait(one, kPatience).value());
    EXPECT_THAT(one[0].status, HasCode(Code::unsupported));
}

TEST_F(ShmTest, ExposesWholeSlabsOnly) {
    const auto slab = slab_of(5000);
    const auto both = transport();
    Region region = SharedSlab::region(slab);
    EXPECT_THAT(both->expose(region, {.allow_write = true}), HasCode(Code::unsupported));
    region.bytes = 4999;
    EXPECT_THAT(both->expose(region, {}), HasError(Code::invalid_argument, "whole slabs"));
    region = SharedSlab::region(slab);
    region.fd_offset = 1;
    EXPECT_THAT(both->expose(region, {}), HasCode(Code::invalid_argument));
    region = SharedSlab::region(slab);
    const UniqueFd other(::memfd_create("no-slab", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(0, ::ftruncate(other.get(), 12'288));
    region.fd = other.get();
    EXPECT_THAT(both->expose(region, {}), HasCode(Code::corrupt));
    region.fd = -1;
    EXPECT_FALSE(both->expose(region, {}).has_value());
}

TEST_F(ShmTest, ADescriptorOfAnotherSlabAtTheSameSocketIsRefused) {
    const auto slab = slab_of(5000);
    const auto both = transport();
    auto exposure = both->expose(SharedSlab::region(slab), {}).value();
    auto served = decode_descriptor(exposure->descriptor(), "shm").value();
    served.nonce[0] ^= std::byte{1};
    EXPECT_THAT(both->attach(encode_descriptor(served).value(), {}), HasError(Code::not_found, "another slab"));
    served = decode_descriptor(exposure->descriptor(), "shm").value();
    served.region_bytes += 1;
    EXPECT_THAT(both->attach(encode_descriptor(served).value(), {}), HasCode(Code::corrupt));
    served = decode_descriptor(exposure->descriptor(), "shm").value();
    served.endpoints = {{"tcp:127.0.0.1:1"}};
    EXPECT_THAT(both->attach(encode_descriptor(served).value(), {}), HasCode(Code::corrupt));
    EXPECT_OK(both->attach(exposure->descriptor(), {}));
}

TEST_F(ShmTest, WhoSpeaksOutOfTurnGetsNoSlab) {
    const auto slab = slab_of(5000);
    const auto both = transport();
    auto exposure = both->expose(SharedSlab::region(slab), {}).value();
    const auto served = decode_descriptor(exposure->descriptor(), "shm").value();
    for (const std::size_t size : {0UL, 5UL, 1000UL}) {
        auto stream = connect_stream(served.endpoints.front(), {"shm", Secret{}}, kPatience).value();
        ASSERT_OK(stream.send_frame(Bytes(size, std::byte{1}), kPatience));
        const auto frame = stream.receive_frame(shm::kMaxAttachFrameBytes, kPatience);
        ASSERT_OK(frame);
        EXPECT_EQ(shm::GrantAnswer::malformed, shm::decode_grant(*frame).value().answer);
        std::byte one{};
        EXPECT_THAT(stream.receive_all(std::span(&one, 1), kPatience), HasCode(Code::peer_lost));
    }
    // Nobody is left in the books.
    EXPECT_OK(exposure->close(kPatience));
}

TEST_F(ShmTest, APathThatIsTooLongForASocketIsNamed) {
    const std::string deep = directory_ / std::string(120, 'd');
    const auto made = make_shm_transport({.socket_directory = deep});
    ASSERT_OK(made);
    EXPECT_THAT((*made)->expose(SharedSlab::region(slab_of(100)), {}), HasError(Code::invalid_argument, "at most 107"));
}

}  // namespace
}  // namespace wsync
