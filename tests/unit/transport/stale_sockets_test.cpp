// What killed processes have left among the sockets is removed; nothing else is.
#include "result_matchers.hpp"
#include "scratch_folder.hpp"
#include "transport/wire/stale_sockets.hpp"
#include "transport/wire/stream.hpp"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace wsync {
namespace {

class StaleSockets : public ::testing::Test {
protected:
    // A socket that was bound, and whose process has gone.
    void leave(const std::string& name) {
        UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const auto path = scratch_ / name;
        std::copy(path.begin(), path.end(), address.sun_path);
        ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(scratch_.path())) found.push_back(entry.path().filename().string());
        std::sort(found.begin(), found.end());
        return found;
    }
    testing::TemporaryDirectory scratch_{testing::memory_folder()};
};

TEST_F(StaleSockets, GoAndWhatLivesStays) {
    leave("link-0123456789ab");
    leave("0123456789abcdef");
    ListenOptions options;
    options.endpoint = {"unix:" + scratch_ / "link-ba9876543210"};
    auto server = StreamServer::start(options, [](Stream&) {});
    ASSERT_OK(server);
    remove_stale_sockets(scratch_.path());
    EXPECT_EQ(names(), std::vector<std::string>{"link-ba9876543210"});
    (*server)->stop();
    EXPECT_EQ(names(), std::vector<std::string>{});
}

TEST_F(StaleSockets, OthersFilesAreNobodysBusiness) {
    leave("someone.sock");
    leave("link-0123456789abcd");
    leave("link-0123456789AB");
    testing::write_whole_file(scratch_ / "0123456789abcdef", "no socket");
    const auto before = names();
    remove_stale_sockets(scratch_.path());
    EXPECT_EQ(names(), before);
    remove_stale_sockets(scratch_ / "not there");
}

// Bound, and not yet listening: it may be alive, until it is very old.
TEST_F(StaleSockets, OnesThatAreBeingMadeStayForAWhile) {
    leave(".ink-0123456789ab");
    leave(".123456789abcdef");
    const auto before = names();
    remove_stale_sockets(scratch_.path());
    EXPECT_EQ(names(), before);
    for (const auto& name : before) {
        const timespec long_ago[2] = {{1000, 0}, {1000, 0}};
        ASSERT_EQ(::utimensat(AT_FDCWD, (scratch_ / name).c_str(), long_ago, 0), 0);
    }
    remove_stale_sockets(scratch_.path());
    EXPECT_EQ(names(), std::vector<std::string>{});
}

// So that a name that refuses is a dead one's: a dead one is replaced, a living one is not, and none is seen half made.
TEST_F(StaleSockets, AListenerTakesAStaleNameOnly) {
    leave("l00");
    leave(".00");  // who died between the two
    ListenOptions options;
    options.endpoint = {"unix:" + scratch_ / "l00"};
    auto server = StreamServer::start(options, [](Stream&) {});
    ASSERT_OK(server);
    EXPECT_EQ(names(), std::vector<std::string>{"l00"});
    EXPECT_THAT(StreamServer::start(options, [](Stream&) {}), testing::HasCode(Code::unavailable));
    EXPECT_EQ(names(), std::vector<std::string>{"l00"});
}

}  // namespace
}  // namespace wsync
