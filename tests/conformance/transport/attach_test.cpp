// What every transport says about itself, its descriptors and the end of an exposure.
#include "conformance/transport/fixture.hpp"

#include "memory/file_region.hpp"
#include "memory/slab.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>

namespace wsync::testing {
namespace {

class TransportAttach : public TransportSuite {
protected:
    [[nodiscard]] Result<std::unique_ptr<Channel>> attach_bytes(Bytes bytes) {
        return importer().attach({exporter_->descriptor().transport, std::move(bytes)}, {.deadline = 5s});
    }
};

TEST_P(TransportAttach, TheDescriptorIsSmallAndNamesItsTransport) {
    start_exporter();
    const auto descriptor = exporter_->descriptor();
    EXPECT_EQ(importer().capabilities().name, descriptor.transport);
    EXPECT_LE(descriptor.bytes.size(), 4096U);
    EXPECT_GT(descriptor.bytes.size(), 8U);
}

TEST_P(TransportAttach, GarbageIsRefused) {
    start_exporter();
    std::mt19937 random(3);
    for (const std::size_t size : {0UL, 1UL, 7UL, 8UL, 100UL, 4096UL, 1UL << 20}) {
        Bytes garbage(size);
        for (auto& byte : garbage) byte = static_cast<std::byte>(random());
        EXPECT_THAT(attach_bytes(garbage), HasCode(Code::corrupt)) << size;
    }
    // A good beginning does not help.
    Bytes long_one = exporter_->descriptor().bytes;
    long_one.push_back(std::byte{});
    EXPECT_THAT(attach_bytes(long_one), HasCode(Code::corrupt));
}

TEST_P(TransportAttach, ATruncatedDescriptorIsRefused) {
    start_exporter();
    const auto whole = exporter_->descriptor().bytes;
    for (std::size_t size = 0; size < whole.size(); ++size) {
        EXPECT_THAT(attach_bytes(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))), HasCode(Code::corrupt)) << size;
    }
}

TEST_P(TransportAttach, AnotherTransportsDescriptorIsRefused) {
    start_exporter();
    EXPECT_THAT(importer().attach({"pigeon", exporter_->descriptor().bytes}, {.deadline = 5s}), HasError(Code::invalid_argument, "pigeon"));
}

TEST_P(TransportAttach, AnotherMajorIsRefusedAndBothAreNamed) {
    start_exporter();
    auto bytes = exporter_->descriptor().bytes;
    bytes[4] = std::byte{9};
    EXPECT_THAT(attach_bytes(bytes), HasError(Code::unsupported, "9."));
}

TEST_P(TransportAttach, AnotherMachinesDescriptorIsRefusedWhereThatCantWork) {
    start_exporter();
    auto bytes = exporter_->descriptor().bytes;
    const auto boot_id = current_process().value().boot_id;
    const auto wanted = as_bytes_of(boot_id);
    const auto at = std::search(bytes.begin(), bytes.end(), wanted.begin(), wanted.end());
    ASSERT_NE(bytes.end(), at) << "the descriptor does not say which machine it is of";
    *at = *at == std::byte{'0'} ? std::byte{'1'} : std::byte{'0'};
    const auto attached = attach_bytes(bytes);
    if (importer().capabilities().same_host_only) {
        EXPECT_THAT(attached, HasCode(Code::unsupported));
    } else {
        EXPECT_OK(attached);
    }
}

TEST_P(TransportAttach, AnotherSecretIsRefused) {
    start_exporter();
    Setting other = setting_;
    other.secret.fill(std::byte{8});
    const auto stranger = make_importer(other);
    const auto attached = stranger->attach(exporter_->descriptor(), {.deadline = kPatience});
    if (row().attach_asks_exporter) {
        EXPECT_THAT(attached, HasError(Code::invalid_argument, "does not know the secret"));
    } else {
        EXPECT_OK(attached);
    }
    EXPECT_OK(try_attach());
}

TEST_P(TransportAttach, CapabilitiesAreHonestAboutKinds) {
    const auto transport = make_importer(setting_);
    const auto& can = transport->capabilities();
    const auto content = pattern(10'000);
    const Region host = target_of(10'000);
    SlabOptions slab_options;
    slab_options.bytes = 10'000;
    slab_options.huge_pages = false;
    const Region shared = SharedSlab::region(SharedSlab::make(slab_options).value());
    const std::string path = directory_ / "kinds";
    { std::ofstream(path).write(reinterpret_cast<const char*>(content.data()), 10'000); }
    const Region file = open_file_region(path, false).value();
    Region device;
    device.kind = MemoryKind::device;
    device.device_ordinal = 0;
    device.bytes = 10'000;
    for (const auto& [region, claimed] : {std::pair{&host, can.host}, {&shared, can.shared}, {&file, can.file}, {&device, can.device}}) {
        if (region->host_bytes()) std::copy(content.begin(), content.end(), region->address);
        auto exposure = transport->expose(*region, {});
        if (!claimed) {
            EXPECT_THAT(exposure, HasCode(Code::unsupported)) << name_of(region->kind);
            continue;
        }
        ASSERT_OK(exposure) << name_of(region->kind);
        auto channel = transport->attach((*exposure)->descriptor(), {.deadline = kPatience});
        ASSERT_OK(channel) << name_of(region->kind);
        const Region target = target_of(10'000);
        EXPECT_OK(move_one(**channel, {.local = &target, .row_bytes = 10'000}).status);
        EXPECT_TRUE(std::equal(content.begin(), content.end(), target.address)) << name_of(region->kind);
        (*channel)->close();
        EXPECT_OK((*exposure)->close(kPatience));
    }
}

TEST_P(TransportAttach, CapabilitiesAreHonestAboutWrites) {
    const bool claimed = importer().capabilities().write;
    start_exporter({.allow_write = claimed});
    auto channel = attach();
    const Region source = target_of(5000);
    for (std::size_t i = 0; i < 5000; ++i) source.address[i] = static_cast<std::byte>(i * 7);
    const auto written = move_one(*channel, {.op = Op::write, .remote_offset = 321, .local = &source, .row_bytes = 5000});
    if (claimed) {
        EXPECT_OK(written.status);
        EXPECT_OK(move_one(*channel, {.op = Op::write, .remote_offset = 20'000, .remote_stride = 30, .local = &source, .local_stride = 20, .row_bytes = 10, .rows = 50}).status);
        EXPECT_THAT(move_one(*channel, {.op = Op::write, .remote_offset = kSourceBytes - 1, .local = &source, .row_bytes = 2}).status, HasCode(Code::invalid_argument));
        const Region target = target_of(kSourceBytes);
        EXPECT_OK(move_one(*channel, {.local = &target, .row_bytes = kSourceBytes}).status);
        std::copy_n(source.address, 5000, content_.begin() + 321);
        for (std::size_t r = 0; r < 50; ++r) std::copy_n(source.address + r * 20, 10, content_.begin() + static_cast<std::ptrdiff_t>(20'000 + r * 30));
        EXPECT_TRUE(holds_content(target, 0, kSourceBytes));
    } else {
        EXPECT_THAT(written.status, HasCode(Code::unsupported));
    }
}

TEST_P(TransportAttach, WhatWasNotOpenedForWritingIsNotWritten) {
    start_exporter();
    auto channel = attach();
    const Region source = target_of(100);
    EXPECT_FALSE(move_one(*channel, {.op = Op::write, .local = &source, .row_bytes = 100}).status.has_value());
    const Region target = target_of(100);
    EXPECT_OK(move_one(*channel, {.local = &target, .row_bytes = 100}).status);
    EXPECT_TRUE(holds_content(target, 0, 100));
}

TEST_P(TransportAttach, CapabilitiesAreHonestAboutMaps) {
    start_exporter();
    auto channel = attach();
    auto mapped = channel->map();
    if (!importer().capabilities().map) {
        EXPECT_THAT(mapped, HasCode(Code::unsupported));
        return;
    }
    ASSERT_OK(mapped);
    EXPECT_FALSE(mapped->writable);
    ASSERT_TRUE(mapped->host_bytes().has_value());
    ASSERT_EQ(content_.size(), mapped->bytes);
    // Pages live until the last map goes: beyond the channel, the exposure and the exporter.
    channel.reset();
    EXPECT_OK(exporter_->close(kPatience));
    exporter_.reset();
    EXPECT_TRUE(holds_content(*mapped, 0, content_.size()));
}

TEST_P(TransportAttach, AClosedExposureTakesNobody) {
    start_exporter();
    const auto descriptor = exporter_->descriptor();
    { const auto channel = attach(); }
    ASSERT_OK(exporter_->close(kPatience));
    EXPECT_OK(exporter_->close(kPatience));  // idempotent
    const auto attached = importer().attach(descriptor, {.deadline = kPatience});
    if (row().attach_asks_exporter) {
        ASSERT_FALSE(attached.has_value());
        EXPECT_THAT(attached.error().code, ::testing::AnyOf(Code::unavailable, Code::not_found, Code::peer_lost)) << attached.error().to_string();
    }
}

TEST_P(TransportAttach, AClosingExposureWaitsForWork) {
    start_exporter();
    auto channel = attach();
    const auto closed = exporter_->close(50ms);
    if (!row().attachment_is_work) {
        EXPECT_OK(closed);
        return;
    }
    EXPECT_THAT(closed, HasCode(Code::timed_out));
    // New work is refused, the memory is still there.
    EXPECT_THAT(try_attach(), HasCode(Code::unavailable));
    const Region target = target_of(kSourceBytes);
    EXPECT_OK(move_one(*channel, {.local = &target, .row_bytes = kSourceBytes}).status);
    EXPECT_TRUE(holds_content(target, 0, kSourceBytes));
    channel->close();
    EXPECT_OK(exporter_->close(kPatience));
}

TEST_P(TransportAttach, AnExposureDroppedUnderAChannelEndsIt) {
    start_exporter();
    auto channel = attach();
    exporter_.reset();
    const Region target = target_of(kSourceBytes);
    const auto transfers = reads(target, 16, 4096);
    const auto accepted = channel->submit(transfers);
    if (!accepted) {
        EXPECT_THAT(accepted, HasCode(Code::peer_lost));
        return;
    }
    std::size_t completed = 0;
    std::array<Completion, 16> some;
    while (completed < *accepted) {
        const auto n = channel->wait(some, kPatience);
        ASSERT_OK(n);
        ASSERT_GT(*n, 0U);
        for (std::size_t i = 0; i < *n; ++i) {
            if (row().notices_death) {
                EXPECT_THAT(some[i].status, HasCode(Code::peer_lost));
            } else {
                EXPECT_OK(some[i].status);
            }
        }
        completed += *n;
    }
}

INSTANTIATE_TEST_SUITE_P(Rows, TransportAttach, ::testing::ValuesIn(cases_of({Peers::threads, Peers::processes})),
                         [](const auto& info) { return name_of_case(info.param); });

}  // namespace
}  // namespace wsync::testing
