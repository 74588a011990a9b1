#include "base/process.hpp"
#include "base/secret.hpp"
#include "result_matchers.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace wsync {
namespace {

using testing::HasCode;

TEST(Process, KnowsItself) {
    auto self = current_process();
    ASSERT_OK(self);
    EXPECT_EQ(liveness_of(*self), Liveness::alive);
    auto reused = *self;
    reused.start_ticks += 1;  // the same pid, another process
    EXPECT_EQ(liveness_of(reused), Liveness::dead);
    auto elsewhere = *self;
    elsewhere.boot_id = "other";
    EXPECT_EQ(liveness_of(elsewhere), Liveness::unknown);
    EXPECT_THAT(open_pidfd(elsewhere), HasCode(Code::unsupported));
}

TEST(Process, PidfdSeesDeathEvenOfAZombie) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::pause();
        ::_exit(0);
    }
    auto identity = current_process().value();
    identity.pid = child;
    // The child's start time is not ours to know beforehand: find it as a peer's record would carry it.
    ByteWriter out;
    for (std::uint64_t ticks = identity.start_ticks; ticks < identity.start_ticks + 100'000; ++ticks) {
        identity.start_ticks = ticks;
        if (liveness_of(identity) == Liveness::alive) break;
    }
    auto fd = open_pidfd(identity);
    ASSERT_OK(fd);
    pollfd poll_one{fd->get(), POLLIN, 0};
    EXPECT_EQ(::poll(&poll_one, 1, 0), 0);
    ::kill(child, SIGKILL);
    EXPECT_EQ(::poll(&poll_one, 1, 5000), 1);
    EXPECT_EQ(liveness_of(identity), Liveness::dead);
    ::waitpid(child, nullptr, 0);
}

TEST(Process, RecordRoundTrips) {
    auto self = current_process().value();
    ByteWriter out;
    write(out, self);
    ByteReader in(out.view(), "process");
    EXPECT_EQ(*read_process_identity(in), self);
    EXPECT_OK(in.finish());
    for (std::size_t cut = 0; cut < out.view().size(); ++cut) {
        ByteReader part(out.view().first(cut), "process");
        EXPECT_THAT(read_process_identity(part), HasCode(Code::corrupt));
    }
}

TEST(Secret, MacDependsOnEveryPart) {
    auto secret = random_secret().value();
    auto a = hmac_sha256(secret, {as_bytes_of("a"), as_bytes_of("b")});
    EXPECT_TRUE(equal(a, hmac_sha256(secret, {as_bytes_of("ab")})));
    EXPECT_FALSE(equal(a, hmac_sha256(secret, {as_bytes_of("ba")})));
    EXPECT_FALSE(equal(a, hmac_sha256(random_secret().value(), {as_bytes_of("ab")})));
}

}  // namespace
}  // namespace wsync
