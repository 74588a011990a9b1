// Disks that are full, broken or not ours: a clear error, the versions that were there stay, nothing is leaked.
#include "doubles/failing_file_system.hpp"
#include "store_fixture.hpp"

#include <csignal>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace wsync {
namespace {

using namespace testing;

std::size_t open_descriptors() {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
    return n;
}

struct Trouble : StoreFixture {
    // Runs `body` in a child, where limits, mounts and users can be changed. It returns an empty string when all is well.
    void in_child(const std::function<std::string()>& body) {
        int result[2];
        ASSERT_EQ(::pipe2(result, O_CLOEXEC), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            const std::string words = body();
            if (::write(result[1], words.data(), words.size()) < 0) ::_exit(2);
            ::_exit(words.empty() ? 0 : 1);
        }
        ::close(result[1]);
        std::string words(4096, '\0');
        const ssize_t n = ::read(result[0], words.data(), words.size());
        words.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        ::close(result[0]);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << words << " (status " << status << ")";
    }
    // What went wrong when writing version `number` under `root`, checked against the code; empty when as expected.
    std::string expect_failure(const std::string& root, std::uint64_t number, Code code) {
        const auto own_transport = make_file_transport({}).value();
        const auto own = make_file_system(own_transport.get());
        auto o = options(number);
        o.root = root;
        weights.fill(number);
        const auto result = write_version(*own, o, weights.content());
        if (result) return "it was written";
        if (result.error().code != code) return "another error: " + result.error().to_string();
        if (result.error().to_string().find(root) == std::string::npos) return "the path is not named: " + result.error().to_string();
        return {};
    }
};

TEST_F(Trouble, AnErrorAtEachOperationOfAWrite) {
    using How = FailingFileSystem::How;
    ASSERT_OK(write(1));
    ASSERT_OK(write(2));
    const std::size_t descriptors = open_descriptors();
    std::uint64_t number = 3;
    for (const How how : {How::no_space, How::io_error, How::half}) {
        for (int at = 0;; ++at) {
            FailingFileSystem failing(*files, at, how);
            auto o = options(number);
            o.recycle = at % 2 == 0;
            weights.fill(number);
            const auto result = write_version(failing, o, weights.content());
            const auto versions = list_versions(*files, directory.path(), "policy");
            ASSERT_OK(versions);
            // Whatever failed: what can be seen is whole, and the newest is the old one or this one.
            for (const VersionEntry& entry : *versions) ASSERT_OK(verify_version(*files, entry.path)) << "operation " << at;
            const auto latest = versions->back().number.number;
            if (!result) {
                EXPECT_EQ(result.error().code, how == How::no_space ? Code::resource_exhausted : Code::io_error) << result.error().to_string();
                ASSERT_TRUE(latest == number - 1 || latest == number) << "operation " << at;
            } else {
                ASSERT_EQ(latest, number) << "operation " << at;
                EXPECT_EQ(result->notes.empty(), !failing.failed()) << "a failure after the commit is a note";
            }
            ASSERT_EQ(open_descriptors(), descriptors) << "operation " << at;
            number = latest + 1;
            if (!failing.failed()) break;
        }
    }
    // And nothing of all that is left after the next write.
    ASSERT_OK(write(number));
    for (const auto& entry : std::filesystem::directory_iterator(directory / "policy")) {
        EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << entry.path();
    }
}

TEST_F(Trouble, AnErrorAtEachOperationOfAReader) {
    using How = FailingFileSystem::How;
    ASSERT_OK(write(1));
    for (const How how : {How::io_error, How::half}) {
        for (int at = 0;; ++at) {
            FailingFileSystem failing(*files, at, how);
            const auto result = verify_version(failing, directory / "policy/v1.1");
            if (!failing.failed()) {
                ASSERT_OK(result);
                EXPECT_GT(at, 5);
                break;
            }
            ASSERT_FALSE(result.has_value()) << "operation " << at << " failed and nobody noticed";
            EXPECT_NE(result.error().to_string().find(directory.path()), std::string::npos) << result.error().to_string();
        }
    }
}

TEST_F(Trouble, AFullDisk) {
    ASSERT_OK(write(1));
    in_child([&]() -> std::string {
        // A small disk of our own where that is permitted; a limit on file sizes says the same to the writer elsewhere.
        const std::string mounted = directory / "mounted";
        std::filesystem::create_directory(mounted);
        if (::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
            ::mount("small", mounted.c_str(), "tmpfs", 0, "size=2m") == 0) {
            std::string words;
            for (int i = 0; i < 3 && words.empty(); ++i) words = expect_failure(mounted, 1, Code::resource_exhausted);
            if (words.empty() && !std::filesystem::is_empty(mounted + "/policy")) words = "something was left on the full disk";
            return words;
        }
        return {};
    });
    in_child([&]() -> std::string {
        ::signal(SIGXFSZ, SIG_IGN);
        rlimit limit{100'000, 100'000};
        if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit can be set";
        return expect_failure(directory.path(), 2, Code::resource_exhausted);
    });
    EXPECT_OK(verify_version(*files, directory / "policy/v1.1"));
    EXPECT_FALSE(std::filesystem::exists(directory / "policy/v1.2"));
}

TEST_F(Trouble, ADirectoryWithoutPermission) {
    ASSERT_OK(write(1));
    ASSERT_EQ(::chmod(directory.path().c_str(), 0755), 0);
    ASSERT_EQ(::chmod((directory / "policy").c_str(), 0555), 0);
    in_child([&]() -> std::string {
        if (::geteuid() == 0 && ::seteuid(65534) != 0) return "the user can't be changed";
        std::string words = expect_failure(directory.path(), 2, Code::io_error);
        if (!words.empty()) return words;
        // Reading goes on for those who may only read.
        const auto own = make_file_system(nullptr);
        const auto verified = verify_version(*own, directory / "policy/v1.1");
        return verified ? "" : verified.error().to_string();
    });
    ASSERT_EQ(::chmod((directory / "policy").c_str(), 0755), 0);
    EXPECT_OK(verify_version(*files, directory / "policy/v1.1"));
}

TEST_F(Trouble, TheRootIsAFile) {
    put_text(directory / "root", "x");
    auto o = options(1);
    o.root = directory / "root";
    EXPECT_THAT(write_version(*files, o, weights.content()), HasCode(Code::io_error));
    o.root = directory / "a/b/c";
    EXPECT_THAT(write_version(*files, o, weights.content()), HasCode(Code::not_found));
}

TEST_F(Trouble, AReaderInAnotherProcessPinsUntilItDies) {
    ASSERT_OK(write(1));
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const auto own = make_file_system(nullptr);
        const auto stored = open_version(*own, directory / "policy/v1.1");
        const char byte = stored ? 'y' : 'n';
        if (::write(ready[1], &byte, 1) != 1) ::_exit(2);
        for (;;) ::pause();
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ASSERT_EQ(byte, 'y');
    for (std::uint64_t n = 2; n <= 4; ++n) {
        auto o = options(n);
        o.keep = 1;
        o.recycle = true;
        weights.fill(n);
        ASSERT_OK(write_version(*files, o, weights.content()));
    }
    EXPECT_OK(verify_version(*files, directory / "policy/v1.1")) << "somebody read it";
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    auto o = options(5);
    o.keep = 1;
    ASSERT_OK(write_version(*files, o, weights.content()));
    EXPECT_FALSE(std::filesystem::exists(directory / "policy/v1.1"));
    ::close(ready[0]);
    ::close(ready[1]);
}

}  // namespace
}  // namespace wsync
