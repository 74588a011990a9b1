// Exporter and importer as in two containers: each in a user, pid and mount namespace of its own. They share the folder
// of the sockets, under different paths, and nothing else.
#include "conformance/transport/child_process.hpp"
#include "memory/host_buffer.hpp"
#include "memory/slab.hpp"
#include "transport/shm/shm_transport.hpp"

#include "result_matchers.hpp"
#include "temporary_directory.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::Child;
using testing::Message;
using testing::Pipe;
using ::wsync::testing::HasCode;

constexpr std::size_t kBytes = (1U << 20) + 333;
constexpr auto kPatience = 60s;

std::byte content_at(std::size_t i) { return static_cast<std::byte>(i * 131 >> 2); }

void write_text(const std::string& path, const std::string& text) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    (void)!::write(fd.get(), text.data(), text.size());
}

// Into new namespaces: user `inner_uid` inside. False where this system has none for us.
bool leave_namespaces(int inner_uid) {
    const auto uid = std::to_string(::geteuid()), gid = std::to_string(::getegid());
    if (::unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) == 0) {
        write_text("/proc/self/setgroups", "deny");
        write_text("/proc/self/uid_map", std::to_string(inner_uid) + " " + uid + " 1");
        write_text("/proc/self/gid_map", std::to_string(inner_uid) + " " + gid + " 1");
    } else if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
        return false;
    }
    return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// Whether this system lets us have namespaces at all; without them the same peers run side by side.
bool namespaces_are_possible() {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(leave_namespaces(0) ? 0 : 1);
    int status = 1;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status == 0;
}

// Runs `body` in a process of new namespaces, with a first process beside it that stays: a container's init.
void in_container(Pipe& pipe, int inner_uid, const std::function<void(Pipe&)>& body) {
    const bool isolated = leave_namespaces(inner_uid);
    const pid_t init = ::fork();
    if (init != 0) {
        int status = 0;
        (void)::waitpid(init, &status, 0);
        return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (isolated && ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
        pipe.send(Message::of(errno_error(errno, "mounting /proc")));
        ::_exit(1);
    }
    const pid_t inner = ::fork();
    if (inner == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        body(pipe);
        ::_exit(0);
    }
    // Nobody keeps the pipe open but the process that speaks on it.
    pipe = Pipe{UniqueFd{}};
    while (::waitpid(inner, nullptr, 0) < 0 && errno == EINTR) {
    }
    ::_exit(0);
}

// Exposes; then obeys: 1: die at once; 2: leave a child behind that has all sockets, tell, and die.
void export_slab(Pipe& pipe, const std::string& directory) {
    ShmOptions options;
    options.socket_directory = directory;
    options.secret.fill(std::byte{3});
    const auto transport = make_shm_transport(options).value();
    SlabOptions slab_options;
    slab_options.bytes = kBytes;
    slab_options.huge_pages = false;
    const auto slab = SharedSlab::make(slab_options).value();
    const Region region = SharedSlab::region(slab);
    for (std::size_t i = 0; i < kBytes; ++i) region.address[i] = content_at(i);
    slab->page().generation = 2;
    const auto exposure = transport->expose(region, {.generation = &slab->page().generation}).value();
    pipe.send({0, static_cast<std::uint64_t>(::getpid()), exposure->descriptor().bytes});
    while (auto command = pipe.receive(Deadline::never())) {
        if (command->word == 2) {
            const pid_t sleeper = testing::fork_sleeper();
            pipe.send({0, static_cast<std::uint64_t>(sleeper), {}});
        }
        if (command->word == 1 || command->word == 2) ::kill(::getpid(), SIGKILL);
        pipe.send(Message::of(exposure->close(kPatience)));
    }
}

bool holds_content(const Region& region) {
    for (std::size_t i = 0; i < kBytes; ++i) {
        if (region.address[i] != content_at(i)) return false;
    }
    return region.bytes >= kBytes;
}

Status read_all(Channel& channel, const Region& target) {
    const Transfer all{.local = &target, .row_bytes = kBytes, .generation = 2};
    WSYNC_TRY(const auto accepted, channel.submit(std::span(&all, 1)));
    if (accepted != 1) return Error{Code::internal, "not accepted", {}};
    std::array<Completion, 1> one;
    WSYNC_TRY(const auto n, channel.wait(one, kPatience));
    if (n != 1) return Error{Code::internal, "not completed", {}};
    return one[0].status;
}

// The exporter's path of the sockets is not here: an empty folder hides it, and `own` is where they are.
bool move_sockets(const std::string& theirs, const std::string& own) {
    if (::mount(theirs.c_str(), own.c_str(), nullptr, MS_BIND, nullptr) != 0) return false;
    return ::mount("none", theirs.c_str(), "tmpfs", 0, nullptr) == 0;
}

// Attaches to the descriptor that comes first, maps and copies; then obeys: 1: read and tell how it went.
void import_slab(Pipe& pipe, const std::string& theirs, const std::string& own) {
    const auto descriptor = pipe.receive();
    ShmOptions options;
    const bool moved = move_sockets(theirs, own);
    options.socket_directory = moved ? own : theirs;
    options.secret.fill(std::byte{3});
    const auto transport = make_shm_transport(options).value();
    HostBufferOptions buffer;
    buffer.bytes = kBytes;
    buffer.huge_pages = false;
    const Region target = HostBuffer::region(HostBuffer::make(buffer).value());
    auto channel = transport->attach({"shm", descriptor->bytes}, {.deadline = kPatience});
    if (!channel) {
        pipe.send(Message::of(std::move(channel).error()));
        return;
    }
    const auto mapped = (*channel)->map();
    auto status = read_all(**channel, target);
    if (status && (!mapped || !holds_content(*mapped) || !holds_content(target))) status = Error{Code::corrupt, "other bytes than were exposed", {}};
    pipe.send(Message::of(status, moved ? 1 : 0));
    while (auto command = pipe.receive(Deadline::never())) {
        if (command->word == 2) return;  // the channel goes as well
        // Death is noticed at some time after it: until then reads succeed.
        Status read;
        const Deadline patience = kPatience;
        do {
            read = read_all(**channel, target);
        } while (read && !patience.expired() && command->number == 1);
        pipe.send(Message::of(read));
    }
}

class NamespacesTest : public ::testing::Test {
protected:
    NamespacesTest() : isolated_(namespaces_are_possible()), theirs_(directory_ / "sockets"), own_(directory_ / "elsewhere") {
        ::mkdir(theirs_.c_str(), 0700);
        ::mkdir(own_.c_str(), 0700);
        exporter_ = std::make_unique<Child>([this](Pipe& pipe) { in_container(pipe, 0, [this](Pipe& inner) { export_slab(inner, theirs_); }); });
        importer_ = std::make_unique<Child>([this](Pipe& pipe) { in_container(pipe, 1000, [this](Pipe& inner) { import_slab(inner, theirs_, own_); }); });
    }
    void hand_over() {
        const auto exposed = exporter_->pipe().receive();
        ASSERT_OK(exposed);
        ASSERT_OK(exposed->status());
        if (isolated_) {
            EXPECT_LT(exposed->number, 10U) << "a pid that counts from elsewhere";
        }
        importer_->pipe().send({0, 0, exposed->bytes});
        const auto read = importer_->pipe().receive();
        ASSERT_OK(read);
        ASSERT_OK(read->status());
        EXPECT_EQ(isolated_ ? 1U : 0U, read->number) << "whether the sockets are at another path";
    }
    [[nodiscard]] Status read_again(bool until_lost) { return importer_->ask({1, until_lost ? 1U : 0U, {}}).value().status(); }

    const bool isolated_;
    testing::TemporaryDirectory directory_;
    std::string theirs_, own_;
    std::unique_ptr<Child> exporter_, importer_;
};

TEST_F(NamespacesTest, MapAndCopyAcross) {
    hand_over();
    EXPECT_OK(read_again(false));
    importer_->pipe().send({2, 0, {}});
    EXPECT_OK(exporter_->ask({3, 0, {}}).value().status());
}

TEST_F(NamespacesTest, TheExportersDeathIsSeenFromOutside) {
    hand_over();
    exporter_->pipe().send({1, 0, {}});
    EXPECT_THAT(read_again(true), HasCode(Code::peer_lost));
}

TEST_F(NamespacesTest, TheExportersDeathIsSeenWhileItsChildLives) {
    // Without a pidfd of a foreign process (before Linux 6.5) only the connection's end tells, which a child can hold up.
    int pair[2];
    ASSERT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    const UniqueFd left(pair[0]), right(pair[1]);
    int pidfd = -1;
    socklen_t size = sizeof pidfd;
    const bool has_pidfds = ::getsockopt(left.get(), SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0;
    const UniqueFd own(pidfd);
    hand_over();
    ASSERT_OK(exporter_->ask({has_pidfds ? 2U : 1U, 0, {}}).or_else([&](Error error) -> Result<Message> {
        // Its last words may be lost with it when it has nothing to say.
        if (has_pidfds) return error;
        return Message{};
    }));
    EXPECT_THAT(read_again(true), HasCode(Code::peer_lost));
}

TEST_F(NamespacesTest, AKilledImporterHoldsNothing) {
    hand_over();
    importer_->kill();
    EXPECT_OK(exporter_->ask({3, 0, {}}).value().status());
}

}  // namespace
}  // namespace wsync
