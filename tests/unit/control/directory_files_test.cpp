// What lies in a control folder, and what is done about what doesn't belong there.
#include "control/directory/directory_control.hpp"
#include "control/directory/records.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;
using testing::read_whole_file;
using testing::write_whole_file;

class DirectoryFiles : public ::testing::Test {
protected:
    void SetUp() override { control_ = open_control("dir:" + root_).value(); }
    mode_t mode_of(const std::string& path) {
        struct stat status {};
        EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
        return status.st_mode & 07777;
    }
    Status put(const std::string& key, std::string_view value) {
        auto revision = control_->put(key, as_bytes_of(value), nullptr);
        if (!revision) return std::move(revision).error();
        return {};
    }

    testing::TemporaryDirectory scratch_;
    std::string root_ = scratch_ / "a/b/control";
    std::shared_ptr<Control> control_;
    const std::string file_ = root_ + "/values/policy/head,value";
};

TEST_F(DirectoryFiles, belong_to_their_user_alone) {
    const auto lease = control_->open_lease(10s).value();
    ASSERT_OK(control_->put("policy/head", as_bytes_of("x"), lease.get()));
    EXPECT_EQ(mode_of(scratch_ / "a"), 0700u);
    EXPECT_EQ(mode_of(root_), 0700u);
    EXPECT_EQ(mode_of(root_ + "/values/policy"), 0700u);
    EXPECT_EQ(mode_of(file_), 0600u);
    EXPECT_EQ(mode_of(root_ + "/leases/" + lease->id()), 0600u);
    for (const auto& item : std::filesystem::recursive_directory_iterator(root_)) {
        EXPECT_EQ(mode_of(item.path().string()) & 077u, 0u) << item.path();
    }
}

TEST_F(DirectoryFiles, leave_nothing_behind_when_keys_go) {
    for (int i = 0; i < 20; ++i) ASSERT_OK(put("policy/e1/v" + std::to_string(i) + "/0", "x"));
    for (int i = 0; i < 20; ++i) ASSERT_OK(control_->remove("policy/e1/v" + std::to_string(i) + "/0"));
    EXPECT_TRUE(std::filesystem::is_empty(root_ + "/values"));
}

TEST_F(DirectoryFiles, torn_at_any_length_are_corrupt_and_named) {
    ASSERT_OK(put("policy/head", "the value"));
    const auto whole = read_whole_file(file_);
    for (std::size_t length = 0; length < whole.size(); ++length) {
        write_whole_file(file_, std::string_view(whole).substr(0, length));
        EXPECT_THAT(control_->read("policy"), HasError(Code::corrupt, file_)) << length;
    }
    EXPECT_THAT(put("policy/head", "new"), HasError(Code::corrupt, file_));
    EXPECT_THAT(control_->watch("policy").value()->wait(Deadline::now()), HasError(Code::corrupt, file_));
    ASSERT_OK(control_->remove("policy/head"));
    EXPECT_OK(put("policy/head", "new"));
}

TEST_F(DirectoryFiles, with_any_byte_changed_are_refused) {
    ASSERT_OK(put("policy/head", "the value"));
    const auto whole = read_whole_file(file_);
    for (std::size_t at = 0; at < whole.size(); ++at) {
        auto changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        write_whole_file(file_, changed);
        const auto read = control_->read("policy");
        ASSERT_FALSE(read.has_value()) << at;
        EXPECT_TRUE(read.error().code == Code::corrupt || (at < 6 && read.error().code == Code::unsupported)) << read.error().to_string();
        EXPECT_NE(read.error().message.find(file_), std::string::npos) << read.error().to_string();
    }
}

TEST_F(DirectoryFiles, of_another_major_are_refused_naming_both_sides) {
    ASSERT_OK(put("policy/head", "x"));
    auto bytes = read_whole_file(file_);
    bytes[4] = 9;
    write_whole_file(file_, bytes);
    EXPECT_THAT(control_->read("policy"), HasError(Code::unsupported, "format 9.0"));
}

TEST_F(DirectoryFiles, of_a_newer_minor_are_read) {
    ByteWriter out;
    out.begin_record({"WSCV", 1, 3}).u64(7).text("policy/head").text("").text("value").text("what 1.3 appended");
    const auto digest = digest_of(out.view());
    out.digest(digest);
    const auto bytes = out.take();
    ASSERT_OK(put("policy/head", "x"));
    write_whole_file(file_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    const auto entries = control_->read("policy");
    ASSERT_OK(entries);
    EXPECT_EQ(entries->at(0).revision, 7u);
}

TEST_F(DirectoryFiles, copied_to_another_key_are_corrupt) {
    ASSERT_OK(put("policy/head", "x"));
    std::filesystem::copy_file(file_, root_ + "/values/policy/tail,value");
    EXPECT_THAT(control_->read("policy/tail"), HasError(Code::corrupt, "another key"));
}

TEST_F(DirectoryFiles, too_large_are_refused_by_their_size) {
    ASSERT_OK(put("policy/head", "x"));
    std::filesystem::resize_file(file_, std::uintmax_t{1} << 40);
    EXPECT_THAT(control_->read("policy"), HasError(Code::corrupt, "1099511627776"));
}

TEST_F(DirectoryFiles, that_are_links_are_not_followed) {
    ASSERT_OK(put("policy/head", "secret"));
    std::filesystem::rename(file_, scratch_ / "outside");
    std::filesystem::create_symlink(scratch_ / "outside", file_);
    EXPECT_THAT(control_->read("policy"), HasError(Code::corrupt, "symbolic link"));
    std::filesystem::create_directory(scratch_ / "elsewhere");
    std::filesystem::create_directory_symlink(scratch_ / "elsewhere", root_ + "/values/linked");
    EXPECT_THAT(put("linked/x", "x"), HasError(Code::corrupt, "symbolic link"));
    EXPECT_THAT(control_->read("linked"), HasError(Code::corrupt, "symbolic link"));
    EXPECT_TRUE(std::filesystem::is_empty(scratch_ / "elsewhere"));
    // A put replaces a planted temporary name; it never writes through it.
    write_whole_file(scratch_ / "victim", "untouched");
    ASSERT_OK(control_->remove("policy/head"));
    ASSERT_OK(put("policy/tail", "x"));
    std::filesystem::create_symlink(scratch_ / "victim", root_ + "/values/policy/head,value,new");
    ASSERT_OK(put("policy/head", "x"));
    EXPECT_EQ(read_whole_file(scratch_ / "victim"), "untouched");
}

TEST_F(DirectoryFiles, that_are_no_files_hold_nobody) {
    ASSERT_OK(put("policy/other", "x"));
    ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
    EXPECT_THAT(control_->read("policy"), HasError(Code::corrupt, "not a regular file"));
}

TEST_F(DirectoryFiles, that_no_control_wrote_are_passed_over) {
    ASSERT_OK(put("policy/head", "x"));
    write_whole_file(root_ + "/values/policy/README.txt", "hello");
    write_whole_file(root_ + "/values/policy/head,value,new", "half");
    std::filesystem::create_directory(root_ + "/values/policy/not a key");
    write_whole_file(root_ + "/values/policy/not a key/x,value", "hello");
    EXPECT_EQ(control_->read("").value().size(), 1u);
}

TEST_F(DirectoryFiles, a_torn_lease_is_corrupt_and_named) {
    auto lease = control_->open_lease(1h).value();
    ASSERT_OK(control_->put("policy/rank", as_bytes_of("x"), lease.get()));
    const auto path = root_ + "/leases/" + lease->id();
    const auto whole = read_whole_file(path);
    const auto other = open_control("dir:" + root_).value();
    for (std::size_t length = 0; length < whole.size(); ++length) {
        write_whole_file(path, std::string_view(whole).substr(0, length));
        EXPECT_THAT(other->read("policy"), HasError(Code::corrupt, path)) << length;
    }
    auto torn = whole;
    torn[torn.size() - 1] = static_cast<char>(torn[torn.size() - 1] ^ 1);
    write_whole_file(path, torn);
    EXPECT_THAT(other->read("policy"), HasError(Code::corrupt, "torn counter"));
    write_whole_file(path, whole);
    EXPECT_OK(other->read("policy"));
}

TEST_F(DirectoryFiles, a_foreign_lock_file_is_corrupt_and_named) {
    ASSERT_OK(put("policy/head", "x"));
    for (const auto& item : std::filesystem::directory_iterator(root_ + "/locks")) write_whole_file(item.path().string(), "not a lock of ours");
    EXPECT_THAT(put("policy/head", "y"), HasError(Code::corrupt, "/locks/"));
    EXPECT_OK(control_->read("policy"));
}

TEST_F(DirectoryFiles, a_watch_that_polls_alone_sees_changes_too) {
    DirectoryOptions options;
    options.path = root_;
    options.use_inotify = false;
    options.poll_interval = 1ms;
    const auto polling = open_directory_control(options).value();
    auto watch = polling->watch("policy").value();
    for (int i = 0; i < 50; ++i) {
        const auto value = std::to_string(i % 10);  // same size each time
        ASSERT_OK(put("policy/head", value));
        const auto changes = watch->wait(20s);
        ASSERT_OK(changes);
        ASSERT_EQ(changes->size(), 1u);
        EXPECT_TRUE(std::ranges::equal(changes->at(0).value, as_bytes_of(value)));
    }
}

TEST_F(DirectoryFiles, when_the_folder_vanishes_every_call_says_so) {
    ASSERT_OK(put("policy/head", "x"));
    auto lease = control_->open_lease(10s).value();
    auto watch = control_->watch("policy").value();
    ASSERT_OK(watch->wait(Deadline::now()));
    std::filesystem::remove_all(root_);
    EXPECT_THAT(put("policy/head", "y"), HasError(Code::unavailable, "has gone"));
    EXPECT_THAT(control_->read("policy"), HasError(Code::unavailable, root_));
    EXPECT_THAT(control_->remove("policy/head"), HasError(Code::unavailable, "has gone"));
    EXPECT_THAT(watch->wait(Deadline::now()), HasError(Code::unavailable, "has gone"));
    EXPECT_THAT(control_->open_lease(10s), HasError(Code::unavailable, "has gone"));
    EXPECT_FALSE(control_->put("policy/head", as_bytes_of("x"), lease.get()).has_value());
    EXPECT_FALSE(std::filesystem::exists(root_));  // nobody makes it again behind the user's back
    std::filesystem::create_directories(root_);
    EXPECT_OK(put("policy/head", "z"));
    EXPECT_THAT(control_->put("policy/head", as_bytes_of("x"), lease.get()), HasError(Code::unavailable, "has ended"));
}

TEST_F(DirectoryFiles, a_folder_that_everybody_may_write_is_refused) {
    std::filesystem::create_directory(scratch_ / "open");
    ASSERT_EQ(::chmod((scratch_ / "open").c_str(), 0777), 0);
    EXPECT_THAT(open_control("dir:" + (scratch_ / "open")), HasError(Code::invalid_argument, "chmod 700"));
    write_whole_file(scratch_ / "file", "x");
    EXPECT_FALSE(open_control("dir:" + (scratch_ / "file")).has_value());
    EXPECT_FALSE(open_control("dir:" + (scratch_ / "file/below")).has_value());
}

}  // namespace
}  // namespace wsync
