// Both ends of a tcp stream against any bytes. The first byte picks: the decoders; an exporter that serves what follows
// as requests; a receiver with six transfers under way that takes what follows for answers. Nothing crashes, hangs or
// writes where it must not, and each transfer completes once.
#include "transport/tcp/serving.hpp"
#include "transport/tcp/attachment.hpp"
#include "transport/tcp/request.hpp"
#include "transport/tcp/tcp_channel.hpp"

#include "kernels/kernel_set.hpp"

#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <thread>

namespace {

using namespace wsync;
using namespace wsync::tcp;

constexpr std::size_t kRegionBytes = 8192;

void check(bool good) {
    if (!good) std::abort();
}

struct Ends {
    UniqueFd mine, theirs;
};

Ends connected() {
    int ends[2];
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Region region_over(std::byte* memory) {
    Region region;
    region.address = memory;
    region.bytes = kRegionBytes;
    region.writable = true;
    return region;
}

void fuzz_decoders(std::span<const std::byte> bytes) {
    if (bytes.size() >= kRequestBytes) {
        const auto request = decode_request(bytes.first<kRequestBytes>());
        if (request && bytes[5] == std::byte{0} && bytes[7] == std::byte{0}) check(std::memcmp(encode(*request).data(), bytes.data(), kRequestBytes) == 0);
    }
    if (bytes.size() >= kResponseBytes) {
        const auto response = decode_response(bytes.first<kResponseBytes>());
        check(!response || (response->count > 0 && (response->ok || response->bytes == 0)));
    }
    if (bytes.size() >= kTrailerBytes) (void)decode_trailer(bytes.first<kTrailerBytes>());
    if (const auto request = decode_attach_request(bytes)) check(decode_attach_request(encode(*request)).has_value());
    if (const auto reply = decode_attach_reply(bytes)) check(decode_attach_reply(encode(*reply)).has_value());
}

void fuzz_server(std::span<const std::byte> bytes) {
    static std::array<std::byte, kRegionBytes + 64> memory{};
    static std::atomic<std::uint64_t> generation{2};
    ExposedTable table;
    const Nonce nonce{};
    auto exposed = std::make_shared<Exposed>(region_over(memory.data()), ExposeOptions{.generation = &generation, .allow_write = true}, nonce);
    const auto id = table.add(exposed);
    auto ends = connected();
    std::thread client([&ends, id, bytes] {
        Stream stream(std::move(ends.theirs), {.name = "client"});
        AttachRequest attach;
        attach.exposure = id;
        if (!stream.send_frame(encode(attach), std::chrono::seconds(5))) return;
        // Reads what comes while it sends, as much as it can.
        std::thread reader([&stream] {
            std::array<std::byte, 4096> some;
            while (stream.receive_all(std::span(some).first(1), std::chrono::seconds(5))) {
            }
        });
        (void)stream.send_all(bytes, std::chrono::seconds(5));
        ::shutdown(stream.fd(), SHUT_WR);
        reader.join();
    });
    {
        Stream stream(std::move(ends.mine), {.name = "client"});
        serve_stream(stream, table, {.writer = {.stall_timeout = std::chrono::seconds(2)}});
        stream.shut_down();
    }
    client.join();
    check(exposed->close(Deadline::now()).has_value());
    for (auto at = kRegionBytes; at < memory.size(); ++at) check(memory[at] == std::byte{0});
}

void fuzz_client(std::span<const std::byte> bytes) {
    std::array<std::byte, kRegionBytes + 64> memory{};
    const auto target = region_over(memory.data());
    auto ends = connected();
    std::size_t sent = 0;
    while (sent < bytes.size()) {
        const auto some = ::send(ends.theirs.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (some <= 0) break;  // more than a socket holds
        sent += static_cast<std::size_t>(some);
    }
    ::shutdown(ends.theirs.get(), SHUT_WR);
    Attached attached;
    attached.region_bytes = kRegionBytes;
    attached.writable = true;
    attached.peer = "peer";
    TcpChannel channel(Stream(std::move(ends.mine), {.name = "peer"}), std::move(attached), {.kernels = &default_kernels()});
    const std::array<Transfer, 6> transfers{
        Transfer{.local = &target, .row_bytes = 100, .want_digest = true, .ticket = 0},
        Transfer{.remote_stride = 10, .local = &target, .local_offset = 200, .local_stride = 20, .row_bytes = 8, .rows = 10, .want_digest = true, .ticket = 1},
        Transfer{.local = &target, .row_bytes = 0, .ticket = 2},
        Transfer{.op = Op::write, .local = &target, .local_offset = 1000, .row_bytes = 64, .ticket = 3},
        Transfer{.local = &target, .local_offset = 4096, .row_bytes = 4096, .generation = 2, .ticket = 4},
        Transfer{.op = Op::write, .local = &target, .row_bytes = 0, .ticket = 5},
    };
    const auto taken = channel.submit(transfers);
    check(taken.has_value() && *taken == transfers.size());
    std::array<int, 6> completed{};
    std::array<Completion, 2> some;
    for (;;) {
        const auto got = channel.wait(some, std::chrono::seconds(5));
        check(got.has_value());
        if (*got == 0) break;
        for (std::size_t i = 0; i < *got; ++i) check(++completed.at(some[i].ticket) == 1);
    }
    for (const int count : completed) check(count == 1);
    for (auto at = kRegionBytes; at < memory.size(); ++at) check(memory[at] == std::byte{0});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
    switch (data[0] % 3) {
        case 0: fuzz_decoders(bytes); break;
        case 1: fuzz_server(bytes); break;
        default: fuzz_client(bytes); break;
    }
    return 0;
}
