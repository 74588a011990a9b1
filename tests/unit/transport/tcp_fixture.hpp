// What the tests of tcp share: regions full of bytes, and an exporter and a receiver in one process.
#pragma once

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

using namespace std::chrono_literals;
using ::wsync::testing::HasCode;
using ::wsync::testing::HasError;

inline constexpr auto kSoon = 20s;

inline Secret secret_of(int seed) {
    Secret secret{};
    secret.fill(static_cast<std::byte>(seed));
    return secret;
}

inline void fill(std::span<std::byte> bytes, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        const auto word = random();
        std::memcpy(bytes.data() + at, &word, 8);
    }
    for (; at < bytes.size(); ++at) bytes[at] = static_cast<std::byte>(random());
}

inline Region host_region(std::uint64_t bytes, std::uint64_t seed = 0) {
    auto buffer = HostBuffer::make({.bytes = bytes, .huge_pages = false}).value();
    if (seed != 0) fill(buffer->bytes(), seed);
    return HostBuffer::region(buffer);
}

inline Region slab_region(std::uint64_t bytes, std::uint64_t seed) {
    auto slab = SharedSlab::make({.bytes = bytes, .huge_pages = false}).value();
    auto region = SharedSlab::region(slab);
    fill(*region.host_bytes(), seed);
    return region;
}

inline std::map<std::uint64_t, Completion> wait_all(Channel& channel, std::size_t count) {
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
inline void wait_for_first_byte(Channel& channel, const Region& target) {
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

}  // namespace wsync
