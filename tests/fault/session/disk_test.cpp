// Disks that are full and directories that are not ours, under a trainer and its receivers: a clear error that names the
// path, the old version serving, nothing left behind.
#include "actors.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

namespace wsync {
namespace {

using namespace wsync::testing;

constexpr uid_t kNobody = 65534;

// In a process whose limits, mounts and user are its own affair. `body` answers what went wrong.
void in_a_world(const std::function<std::string()>& body) {
    auto world = Child::spawn("a world of its own", [&](Conversation& test) { return test.send({{"wrong", body()}}) ? 0 : 1; });
    ASSERT_OK(world);
    const auto answer = world->receive(60s);
    ASSERT_OK(answer);
    EXPECT_EQ(answer->value("wrong", "no answer"), "");
}

// A disk of a few megabytes at `path`, for as long as this lives; not there where this system lets us have none.
class SmallDisk {
public:
    SmallDisk(std::string path, const std::string& size) : path_(std::move(path)) {
        std::filesystem::create_directories(path_);
        mounted_ = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                   ::mount("small", path_.c_str(), "tmpfs", 0, options(size).c_str()) == 0;
    }
    ~SmallDisk() {
        if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    }
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;

    explicit operator bool() const { return mounted_; }
    [[nodiscard]] Status grow(const std::string& size) const {
        if (::mount("small", path_.c_str(), "tmpfs", MS_REMOUNT, options(size).c_str()) == 0) return {};
        return errno_error(errno, "growing the disk");
    }

private:
    static std::string options(const std::string& size) { return "mode=0700,size=" + size; }
    std::string path_;
    bool mounted_ = false;
};

std::string words_of(const Error& error) { return error.to_string(); }
template <class T>
std::string expect_ok(const Result<T>& result, const std::string& what) {
    return result ? "" : what + ": " + words_of(result.error());
}
template <class T>
std::string expect_error(const Result<T>& result, Code code, const std::string& text, const std::string& what) {
    if (result) return what + " went well";
    const auto words = words_of(result.error());
    if (result.error().code != code || words.find(text) == std::string::npos) return what + " failed with " + words + ", expected " + std::string(name_of(code)) + " and " + text;
    return "";
}

#define CHECK_OK(expression, what)                                              \
    if (auto wrong = expect_ok((expression), (what)); !wrong.empty()) return wrong
#define CHECK_ERROR(expression, code, text, what)                                                \
    if (auto wrong = expect_error((expression), (code), (text), (what)); !wrong.empty()) return wrong

TrainerSetup saving(const Place& place) {
    return {.publisher = [&place](PublisherOptions& options) { options.version_directory = place.versions; }, .session = {}};
}

// Version 1 is on disk and served; version 2 finds no room; then there is some.
std::string no_room_for_a_version(const Place& place, const std::function<Status(Trainer&)>& fill, const std::function<Status(Trainer&)>& empty) {
    Trainer trainer(place, saving(place));
    CHECK_OK(trainer.open(), "opening");
    CHECK_OK(trainer.step(1, 1), "version 1");
    ReceiverProcess from_disk(place, {.use = Use::copy, .transport = "disk", .receiver = {}, .session = {}}), from_memory(place);
    CHECK_OK(from_disk.sync(), "syncing version 1 from disk");
    CHECK_OK(from_memory.sync(), "syncing version 1 from memory");
    const auto before = names_in(place.versions + "/policy");
    CHECK_OK(fill(trainer), "filling the disk");
    for (int attempt = 0; attempt < 2; ++attempt) {
        CHECK_ERROR(trainer.step(2, 2), Code::resource_exhausted, place.versions, "version 2 without room");
        CHECK_ERROR(from_disk.sync(50ms), Code::timed_out, "policy@1.1", "syncing what is not there");
        CHECK_ERROR(from_memory.sync(50ms), Code::timed_out, "policy@1.1", "syncing what is not there");
    }
    CHECK_OK(from_disk.serves(1), "serving version 1");
    CHECK_OK(from_memory.serves(1), "serving version 1");
    if (names_in(place.versions + "/policy") != before) return "something was left on the full disk";
    // Training goes on without its disk, where the trainer wants it so.
    CHECK_OK(trainer.step(3, 3, {{"save", false}}), "a version that is not saved");
    CHECK_OK(from_memory.sync(), "syncing it");
    CHECK_OK(from_memory.serves(3), "serving it");
    CHECK_OK(empty(trainer), "making room");
    CHECK_OK(trainer.step(4, 4), "a version with room");
    CHECK_OK(from_disk.sync(), "syncing it from disk");
    CHECK_OK(from_disk.serves(4), "serving it");
    return "";
}

TEST(Disk, has_no_room_for_a_version) {
    in_a_world([] {
        const Place place;
        const SmallDisk disk(place.versions, "4m");
        if (!disk) return std::string();  // the limit below says the same to the writer
        return no_room_for_a_version(
            place, [](Trainer&) -> Status { return {}; },  // a second version does not fit
            [&](Trainer&) { return disk.grow("20m"); });
    });
}

Status ask(Trainer& trainer, const Json& message) {
    auto answer = trainer.ask(message);
    return answer ? Status{} : Status{std::move(answer).error()};
}

TEST(Disk, takes_no_file_of_a_version_s_size) {
    in_a_world([] {
        const Place place;
        return no_room_for_a_version(
            place, [](Trainer& trainer) { return ask(trainer, {{"do", "limit"}, {"bytes", 100'000}}); },
            [](Trainer& trainer) { return ask(trainer, {{"do", "limit"}, {"bytes", 0}}); });
    });
}

// The control folder's disk is full: nothing can be announced, and what was announced stays.
std::string no_room_for_a_record(const Place& place, const std::function<Status(Trainer&)>& fill, const std::function<Status(Trainer&)>& empty) {
    Trainer trainer(place);
    CHECK_OK(trainer.open(), "opening");
    CHECK_OK(trainer.step(1, 1), "version 1");
    ReceiverProcess receiver(place);
    CHECK_OK(receiver.sync(), "syncing version 1");
    CHECK_OK(fill(trainer), "filling the disk");
    for (int attempt = 0; attempt < 3; ++attempt) {
        CHECK_ERROR(trainer.step(2, 2), Code::resource_exhausted, place.control.substr(4), "version 2 without room");
        CHECK_ERROR(receiver.sync(50ms), Code::timed_out, "policy@1.1", "syncing what is not there");
    }
    CHECK_OK(receiver.serves(1), "serving version 1");
    CHECK_OK(empty(trainer), "making room");
    for (std::uint64_t value = 5; value < 8; ++value) {
        CHECK_OK(trainer.step(value, value), "a version with room");
        CHECK_OK(receiver.sync(), "syncing it");
        CHECK_OK(receiver.serves(value), "serving it");
    }
    return "";
}

TEST(Disk, has_no_room_for_a_record) {
    in_a_world([] {
        const Place place;
        const auto folder = place.control.substr(4);
        const SmallDisk disk(folder, "1m");
        if (!disk) return std::string();
        const auto filler = folder + "/filler";
        return no_room_for_a_record(
            place,
            [&](Trainer&) -> Status {
                const UniqueFd fd(::open(filler.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
                const std::vector<char> bytes(4096, 'x');
                while (::write(fd.get(), bytes.data(), bytes.size()) > 0) {
                }
                return errno == ENOSPC ? Status{} : Status{errno_error(errno, "filling the disk")};
            },
            [&](Trainer&) -> Status { return ::unlink(filler.c_str()) == 0 ? Status{} : Status{errno_error(errno, "removing " + filler)}; });
    });
}

// Root may do everything: these trainers are nobody.
Status become_nobody() {
    if (::geteuid() != 0) return {};
    return ::setresuid(kNobody, kNobody, kNobody) == 0 ? Status{} : Status{errno_error(errno, "becoming nobody")};
}

// `ours` is open to all, `theirs` to nobody but its owner's eyes.
struct TwoFolders {
    TwoFolders() {
        (void)::chmod(scratch.path().c_str(), 0755);
        (void)::mkdir(ours.c_str(), 01777);
        (void)::chmod(ours.c_str(), 01777);
        (void)::mkdir(theirs.c_str(), 0555);
        (void)::chmod(theirs.c_str(), 0555);
    }
    TemporaryDirectory scratch{memory_folder()};
    std::string ours = scratch / "ours", theirs = scratch / "theirs";
};

class Forbidden : public ::testing::Test {
protected:
    // A trainer that is nobody, with one of its folders inside `theirs`.
    void expect_refused(const std::string& control, const std::string& sockets, const std::string& versions, bool at_open) {
        const Place unused;
        Trainer trainer(unused, {.publisher = [&](PublisherOptions& options) { options.version_directory = versions; },
                                 .session = [&](SessionOptions& options) {
                                     EXPECT_OK(become_nobody());
                                     options.control = "dir:" + control;
                                     options.socket_directory = sockets;
                                 }});
        if (!at_open) {
            ASSERT_OK(trainer.open());
        }
        const Status refused = at_open ? trainer.open() : [&]() -> Status {
            auto version = trainer.step(1, 1);
            return version ? Status{} : Status{std::move(version).error()};
        }();
        EXPECT_THAT(refused, HasError(Code::io_error, folders_.theirs));
        EXPECT_THAT(refused, HasError(Code::io_error, "ermission denied"));
        if (!at_open) {
            // It goes on without.
            EXPECT_OK(trainer.step(1, 1, {{"save", false}}));
        }
        EXPECT_EQ(names_in(folders_.theirs), std::vector<std::string>{});
    }
    TwoFolders folders_;
};

TEST_F(Forbidden, version_directory) { expect_refused(folders_.ours + "/control", folders_.ours + "/s", folders_.theirs + "/versions", false); }
TEST_F(Forbidden, control_folder) { expect_refused(folders_.theirs + "/control", folders_.ours + "/s", "", true); }
TEST_F(Forbidden, socket_directory) { expect_refused(folders_.ours + "/control", folders_.theirs + "/s", "", true); }

}  // namespace
}  // namespace wsync
