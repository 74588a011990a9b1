// What the tcp transport reaches of a raw socket, on loopback, between two processes, verification on.
//
// Every round runs every variant once, beginning with another one each time, so that a change of the machine's pace
// meets all of them; the figures are medians, the ratios medians of the rounds' ratios to the best raw variant with two
// streams in the same round. Source: a SharedSlab; target: a prefaulted HostBuffer.
//   transport_tcp_bench [ROUNDS [MIB [WORD...]]]  default 9 rounds of 512 MiB; WORD: only variants with one in their name
#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"
#include "transport/tcp/tcp_transport.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <functional>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <numeric>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace wsync;
using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::_Exit(1);
}

enum class RawSend { copy, file, splice };

// --- the raw socket

int listener(std::uint16_t& port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd, 8) != 0) die("listen");
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    return fd;
}

int connected(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
    const int on = 1;
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

struct RawOrder {
    RawSend how;
    std::uint64_t offset, bytes;
};

void raw_send(int fd, const Region& slab, RawOrder order) {
    const std::uint64_t step = 1 << 20;
    int ends[2] = {-1, -1};
    if (order.how == RawSend::splice) {
        if (::pipe(ends) != 0) die("pipe");
        ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    }
    auto at = static_cast<off_t>(order.offset);
    for (auto left = order.bytes; left > 0;) {
        const auto part = std::min(left, step);
        ssize_t sent = 0;
        if (order.how == RawSend::copy) {
            sent = ::send(fd, slab.address + at, part, MSG_NOSIGNAL);
            at += sent;
        } else if (order.how == RawSend::file) {
            sent = ::sendfile(fd, slab.fd, &at, part);
        } else {
            iovec piece{slab.address + at, part};
            sent = ::vmsplice(ends[1], &piece, 1, 0);
            for (auto inside = sent; inside > 0;) {
                const auto out = ::splice(ends[0], nullptr, fd, nullptr, static_cast<std::size_t>(inside), SPLICE_F_MORE);
                if (out <= 0) die("splice");
                inside -= out;
            }
            at += sent;
        }
        if (sent <= 0) die("raw send");
        left -= static_cast<std::uint64_t>(sent);
    }
    ::close(ends[0]);
    ::close(ends[1]);
}

void raw_serve(int listening, Region slab) {
    for (;;) {
        const int fd = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        const int on = 1;
        (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        std::thread([fd, slab] {
            RawOrder order{};
            while (::recv(fd, &order, sizeof order, MSG_WAITALL) == sizeof order) raw_send(fd, slab, order);
            ::close(fd);
        }).detach();
    }
}

void raw_receive(int fd, RawSend how, std::byte* to, std::uint64_t offset, std::uint64_t bytes) {
    const RawOrder order{how, offset, bytes};
    if (::send(fd, &order, sizeof order, MSG_NOSIGNAL) != sizeof order) die("order");
    for (std::uint64_t at = 0; at < bytes;) {
        const auto got = ::recv(fd, to + at, std::min<std::uint64_t>(bytes - at, 1 << 20), MSG_WAITALL);
        if (got <= 0) die("raw receive");
        at += static_cast<std::uint64_t>(got);
    }
}

// --- ours

struct Cut {
    std::uint64_t bytes = 1 << 20;
    bool digest = true;
    bool shuffled = false;       // in another order than they lie in
    std::uint64_t stride = 0;    // rows of `bytes`, this far apart, 16 a transfer; 0: flat
    std::size_t in_flight = 16;  // bounded by the executor, as a rule
};

std::vector<Transfer> cut(const Cut& how, const Region& target, std::uint64_t from, std::uint64_t to) {
    std::vector<Transfer> made;
    const auto step = how.stride == 0 ? how.bytes : how.stride * 16;
    for (auto at = from; at + step <= to; at += step) {
        Transfer transfer{.remote_offset = at, .local = &target, .local_offset = at, .row_bytes = how.bytes, .want_digest = how.digest, .ticket = made.size()};
        if (how.stride != 0) {
            transfer.remote_stride = transfer.local_stride = how.stride;
            transfer.rows = 16;
        }
        made.push_back(transfer);
    }
    if (how.shuffled) std::shuffle(made.begin(), made.end(), std::mt19937_64(7));
    return made;
}

void pull(Channel& channel, std::span<const Transfer> transfers, std::size_t in_flight) {
    std::array<Completion, 64> done;
    std::size_t submitted = 0, completed = 0;
    while (completed < transfers.size()) {
        const auto room = std::min(transfers.size() - submitted, in_flight - (submitted - completed));
        if (room > 0) submitted += channel.submit(transfers.subspan(submitted, room)).value();
        const auto got = channel.wait(done, std::chrono::seconds(30)).value();
        for (std::size_t i = 0; i < got; ++i) done[i].status.value();
        completed += got;
    }
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

struct Variant {
    std::string name;
    std::function<std::uint64_t()> run;  // the bytes that it moved
    bool raw_two = false;
    std::vector<double> speeds{}, cpu{};
};

// Of this process and the exporter's, in seconds.
double cpu_seconds(clockid_t other) {
    double all = 0;
    for (const clockid_t clock : {static_cast<clockid_t>(CLOCK_PROCESS_CPUTIME_ID), other}) {
        timespec now{};
        ::clock_gettime(clock, &now);
        all += static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
    }
    return all;
}

void each_half(int parts, std::uint64_t bytes, const std::function<void(int, std::uint64_t, std::uint64_t)>& body) {
    std::vector<std::thread> threads;
    for (int i = 0; i < parts; ++i) threads.emplace_back(body, i, bytes / static_cast<unsigned>(parts) * static_cast<unsigned>(i), bytes / static_cast<unsigned>(parts) * static_cast<unsigned>(i + 1));
    for (auto& thread : threads) thread.join();
}

TcpOptions options() {
    TcpOptions made;
    made.secret.fill(std::byte{9});
    if (const char* splice = std::getenv("WSYNC_BENCH_SPLICE")) made.splice = *splice != '0';
    return made;
}

// The child: exports the slab both ways until its input ends.
[[noreturn]] void export_slab(std::uint64_t bytes, int answer, int until) {
    auto slab = SharedSlab::make({.bytes = bytes}).value();
    const auto region = SharedSlab::region(slab);
    std::mt19937_64 random(1);
    for (std::uint64_t at = 0; at < bytes; at += 8) {
        const auto word = random();
        std::memcpy(region.address + at, &word, 8);
    }
    slab->page().generation = 2;
    const auto transport = make_tcp_transport(options()).value();
    const auto exposure = transport->expose(region, {.generation = &slab->page().generation}).value();
    std::uint16_t port = 0;
    const int listening = listener(port);
    std::thread(raw_serve, listening, region).detach();
    const auto& descriptor = exposure->descriptor().bytes;
    const std::uint32_t size = static_cast<std::uint32_t>(descriptor.size());
    if (::write(answer, &port, sizeof port) < 0 || ::write(answer, &size, sizeof size) < 0 || ::write(answer, descriptor.data(), size) < 0) die("answer");
    char end = 0;
    (void)!::read(until, &end, 1);
    std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 9;
    const std::uint64_t bytes = (argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 512) << 20;
    int answer[2], until[2];
    if (::pipe(answer) != 0 || ::pipe(until) != 0) die("pipe");
    const auto child = ::fork();
    if (child == 0) {
        ::close(until[1]);
        export_slab(bytes, answer[1], until[0]);
    }
    ::close(answer[1]);
    std::uint16_t port = 0;
    std::uint32_t size = 0;
    if (::read(answer[0], &port, sizeof port) <= 0 || ::read(answer[0], &size, sizeof size) <= 0) die("child");
    Descriptor descriptor{"tcp", Bytes(size)};
    if (::read(answer[0], descriptor.bytes.data(), size) != static_cast<ssize_t>(size)) die("child");

    auto buffer = HostBuffer::make({.bytes = bytes}).value();
    ::madvise(buffer->bytes().data(), bytes, MADV_DONTFORK);
    const auto target = HostBuffer::region(buffer);
    const auto transport = make_tcp_transport(options()).value();
    std::array<std::unique_ptr<Channel>, 2> channels;
    for (auto& channel : channels) channel = transport->attach(descriptor, {}).value();
    const std::array<int, 2> sockets{connected(port), connected(port)};

    std::vector<Variant> variants;
    const auto raw = [&](std::string name, RawSend how, int streams) {
        variants.push_back({std::move(name), [&, how, streams] {
                                each_half(streams, bytes, [&](int i, std::uint64_t from, std::uint64_t to) { raw_receive(sockets[static_cast<unsigned>(i)], how, target.address + from, from, to - from); });
                                return bytes;
                            }, streams == 2});
    };
    const auto ours = [&](std::string name, Cut how, int streams) {
        variants.push_back({std::move(name), [&, how, streams] {
                                std::atomic<std::uint64_t> moved = 0;
                                each_half(streams, bytes, [&](int i, std::uint64_t from, std::uint64_t to) {
                                    const auto transfers = cut(how, target, from, to);
                                    pull(*channels[static_cast<unsigned>(i)], transfers, how.in_flight);
                                    for (const auto& transfer : transfers) moved += transfer.row_bytes * transfer.rows;
                                });
                                return moved.load();
                            }});
    };
    raw("raw send, 1 stream", RawSend::copy, 1);
    raw("raw sendfile, 1 stream", RawSend::file, 1);
    raw("raw send, 2 streams", RawSend::copy, 2);
    raw("raw sendfile, 2 streams", RawSend::file, 2);
    raw("raw splice, 2 streams", RawSend::splice, 2);
    ours("1 MiB, digests, 1 channel", {}, 1);
    ours("1 MiB, digests, 2 channels", {}, 2);
    ours("1 MiB, no digests, 2 channels", {.digest = false}, 2);
    ours("1 MiB, digests, 2 channels, 4 in flight", {.in_flight = 4}, 2);
    ours("48 KiB, digests, 2 channels", {.bytes = 48 << 10, .in_flight = 512}, 2);
    ours("48 KiB shuffled, digests, 2 channels", {.bytes = 48 << 10, .shuffled = true, .in_flight = 512}, 2);
    ours("16 rows of 48 KiB, digests, 2 channels", {.bytes = 48 << 10, .stride = 64 << 10}, 2);
    ours("16 rows of 4 KiB, digests, 2 channels", {.bytes = 4 << 10, .stride = 8 << 10, .in_flight = 512}, 2);
    ours("16 rows of 512 B, digests, 2 channels", {.bytes = 512, .stride = 1 << 10, .in_flight = 512}, 2);

    const std::vector<std::string> words(argv + std::min(argc, 3), argv + argc);
    if (!words.empty()) {
        std::erase_if(variants, [&](const Variant& variant) {
            return std::none_of(words.begin(), words.end(), [&](const auto& word) { return variant.name.find(word) != std::string::npos; });
        });
    }
    clockid_t exporter_clock{};
    if (::clock_getcpuclockid(child, &exporter_clock) != 0) die("clock");
    std::vector<double> best;
    for (int round = -1; round < rounds; ++round) {  // the first one warms up
        double fastest = 0;
        for (std::size_t i = 0; i < variants.size(); ++i) {
            auto& variant = variants[(i + static_cast<std::size_t>(round + 1)) % variants.size()];
            const auto cpu = cpu_seconds(exporter_clock);
            const auto begin = Clock::now();
            const auto moved = variant.run();
            const auto speed = static_cast<double>(moved) / std::chrono::duration<double>(Clock::now() - begin).count() / 1e9;
            if (round < 0) continue;
            variant.speeds.push_back(speed);
            variant.cpu.push_back((cpu_seconds(exporter_clock) - cpu) / static_cast<double>(moved) * 1e9);
            if (variant.raw_two) fastest = std::max(fastest, speed);
        }
        if (round >= 0) best.push_back(fastest);
    }
    std::printf("%llu MiB, %d rounds; GB/s, of the best raw with 2 streams in the same round, CPU seconds a GB\n", static_cast<unsigned long long>(bytes >> 20), rounds);
    for (auto& variant : variants) {
        std::vector<double> ratios;
        for (std::size_t i = 0; i < best.size(); ++i) ratios.push_back(variant.speeds[i] / best[i]);
        const auto [low, high] = std::minmax_element(variant.speeds.begin(), variant.speeds.end());
        std::printf("%-42s %5.2f [%5.2f .. %5.2f]   %.2f   %.3f\n", variant.name.c_str(), median(variant.speeds), *low, *high, median(ratios),
                    median(variant.cpu));
    }
    ::close(until[1]);
    ::waitpid(child, nullptr, 0);
}
