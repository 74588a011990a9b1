// The receiver's side of a link against any bytes that a publisher could answer or push. The first byte says whether a good
// welcome goes before them. Every call ends with a value that it may have, or an Error.
#include "sync/link_frames.hpp"

#include <cstdlib>
#include <sys/socket.h>

namespace {

using namespace wsync;

void require(bool holds) {
    if (!holds) std::abort();
}

void send_what_fits(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) break;  // more than a socket holds
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace std::chrono_literals;
    if (size == 0) return 0;
    const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
    int ends[2];
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    const UniqueFd theirs(ends[1]);
    if (data[0] % 4 != 0) {
        ByteWriter frame;
        frame.blob(link::reply({}, link::encode(link::Welcome{HeadRecord{{"policy", "run", 1, 2, 3, 1, {}}}})));
        send_what_fits(theirs.get(), frame.view());
    }
    send_what_fits(theirs.get(), bytes);
    ::shutdown(theirs.get(), SHUT_WR);
    auto link = Link::greet(Stream(UniqueFd(ends[0]), {.name = "peer"}), {}, "unix:fuzz", "fuzz", 5s);
    if (!link) return 0;
    require(!(*link)->head() || (*link)->head()->version.epoch > 0 || data[0] % 4 == 0);
    const Digest digest{};
    const BoxRequest boxes[] = {{0, {{0, 4}, {2, 4}}}, {1, {}}};
    for (int round = 0; round < 2; ++round) {
        (void)(*link)->poll();
        if (const auto blob = (*link)->blob(digest, 5s)) require(digest_of(*blob) == digest);
        if (const auto granted = (*link)->hold(2, HoldKind::copy, 5s)) require(granted->hold.kind <= HoldKind::serve);
        // What was offered with the head is taken without asking.
        if (const auto granted = (*link)->hold(3, HoldKind::serve, 5s)) require(granted->hold.kind <= HoldKind::serve);
        if (const auto digests = (*link)->digests(1, boxes, 5s)) require(digests->size() == 2);
        (void)(*link)->check(1, round == 0, 5s);
        (*link)->release(1);
    }
    return 0;
}
