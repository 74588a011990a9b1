// Several processes on one control folder: races, kills, stops.
#include "child_process.hpp"
#include "control/directory/directory_control.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"

#include <atomic>
#include <fmt/format.h>
#include <new>
#include <random>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::ChildProcess;
using testing::HasCode;
using testing::HasError;

DirectoryOptions options_of(const std::string& path) {
    DirectoryOptions options;
    options.path = path;
    return options;
}

std::string text_of(const Result<std::vector<ControlEntry>>& entries) {
    if (!entries) return entries.error().to_string();
    if (entries->empty()) return "(none)";
    return {reinterpret_cast<const char*>(entries->at(0).value.data()), entries->at(0).value.size()};
}

struct RacePage {
    std::atomic<int> at_gate[1000];
    std::atomic<int> wins[1000];
    std::atomic<int> wins_of[2];
};

TEST(ControlProcesses, of_two_that_race_exactly_one_wins_each_of_a_thousand_rounds) {
    const testing::TemporaryDirectory scratch(testing::memory_folder());
    auto* shared = ::mmap(nullptr, sizeof(RacePage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    auto* page = new (shared) RacePage{};
    const auto race = [&](int self) {
        auto control = open_directory_control(options_of(scratch / "control")).value();
        for (Revision round = 0; round < 1000; ++round) {
            // Both start each round together.
            ++page->at_gate[round];
            while (page->at_gate[round] < 2) ::sched_yield();
            const auto won = control->compare_and_put("epoch", round, as_bytes_of(std::to_string(self)), nullptr);
            if (!won && won.error().code != Code::unavailable) return 1;
            if (won && *won != round + 1) return 2;
            if (won) ++page->wins[round], ++page->wins_of[self];
        }
        return 0;
    };
    {
        ChildProcess one([&](int) { return race(0); });
        ChildProcess two([&](int) { return race(1); });
        EXPECT_EQ(one.wait(), 0);
        EXPECT_EQ(two.wait(), 0);
    }
    for (int round = 0; round < 1000; ++round) EXPECT_EQ(page->wins[round], 1) << round;
    EXPECT_GT(page->wins_of[0], 0);
    EXPECT_GT(page->wins_of[1], 0);
    ::munmap(shared, sizeof(RacePage));
}

TEST(ControlProcesses, a_writer_killed_at_any_step_leaves_the_old_or_the_new_value) {
    for (const bool existed : {false, true}) {
        for (const auto step : {WriteStep::created, WriteStep::written, WriteStep::synced, WriteStep::renamed}) {
            const testing::TemporaryDirectory scratch;
            auto control = open_control("dir:" + (scratch / "control")).value();
            Revision before = 0;
            if (existed) before = control->put("p/head", as_bytes_of("old"), nullptr).value();
            ChildProcess writer([&](int) {
                auto options = options_of(scratch / "control");
                options.at_step = [step](WriteStep reached) {
                    if (reached == step) ::kill(::getpid(), SIGKILL);
                };
                return open_directory_control(options).value()->put("p/head", as_bytes_of("new"), nullptr) ? 1 : 2;
            });
            ASSERT_EQ(writer.wait(), -SIGKILL);
            const std::string old = existed ? "old" : "(none)";
            EXPECT_EQ(text_of(control->read("p/head")), step == WriteStep::renamed ? "new" : old);
            // The lock went with its holder, and what the writer left is in nobody's way.
            const auto after = control->put("p/head", as_bytes_of("next"), nullptr);
            ASSERT_OK(after);
            EXPECT_GT(*after, before);
            ASSERT_OK(control->remove("p/head"));
            EXPECT_TRUE(std::filesystem::is_empty(scratch / "control/values"));
        }
    }
}

// The names below a folder, with their paths from it.
std::vector<std::string> names_below(const std::string& path) {
    std::vector<std::string> names;
    for (const auto& item : std::filesystem::recursive_directory_iterator(path)) names.push_back(std::filesystem::relative(item.path(), path).string());
    return names;
}

TEST(ControlProcesses, what_killed_writers_of_values_and_leases_left_goes_when_the_next_lease_is_opened) {
    const testing::TemporaryDirectory scratch;
    const auto folder = scratch / "control";
    auto control = open_control("dir:" + folder).value();
    ASSERT_OK(control->put("p/head", as_bytes_of("x"), nullptr));
    int life = 0;
    for (const bool of_a_lease : {true, false}) {
        for (const auto step : {WriteStep::created, WriteStep::written, WriteStep::synced}) {
            ChildProcess writer([&](int) {
                auto options = options_of(folder);
                options.at_step = [step](WriteStep reached) {
                    if (reached == step) ::kill(::getpid(), SIGKILL);
                };
                auto own = open_directory_control(options).value();
                if (of_a_lease) return own->open_lease(1h) ? 1 : 2;
                return own->put(fmt::format("p/e{}/rank/0", life), as_bytes_of("new"), nullptr) ? 1 : 2;
            });
            ASSERT_EQ(writer.wait(), -SIGKILL);
            ++life;
        }
    }
    std::filesystem::create_directories(folder + "/values/p/e9/v1");  // killed before it had made the file
    // A writer that is only stopped, in the middle of a value of its own, keeps what it has.
    ChildProcess stopped([&](int news) {
        auto options = options_of(folder);
        options.at_step = [news](WriteStep reached) {
            if (reached != WriteStep::written) return;
            ChildProcess::tell(news, 'w');
            ::raise(SIGSTOP);
        };
        return open_directory_control(options).value()->put("p/e20/rank/0", as_bytes_of("slow"), nullptr) ? 0 : 1;
    });
    stopped.hear();
    const auto unfinished = [&] {
        auto names = names_below(folder);
        std::erase_if(names, [](const std::string& name) { return !name.ends_with(",new"); });
        return names;
    };
    EXPECT_EQ(unfinished().size(), 1u + 3u + 1u) << "each opening of a lease has swept away what was left before it";
    {
        const auto lease = control->open_lease(1h);
        ASSERT_OK(lease);
        EXPECT_EQ(unfinished(), std::vector<std::string>{"values/p/e20/rank/0,value,new"});
        EXPECT_FALSE(std::filesystem::exists(folder + "/values/p/e9"));
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder + "/leases"), {}), 1);
    }
    stopped.signal(SIGCONT);
    EXPECT_EQ(stopped.wait(), 0);
    EXPECT_EQ(text_of(control->read("p/e20/rank/0")), "slow");
    EXPECT_EQ(text_of(control->read("p/head")), "x");
}

TEST(ControlProcesses, readers_of_a_writer_that_is_killed_again_and_again_see_whole_values_in_order) {
    const testing::TemporaryDirectory scratch;
    auto control = open_control("dir:" + (scratch / "control")).value();
    std::mt19937 random(7);
    Revision last = 0;
    for (int life = 0; life < 20; ++life) {
        ChildProcess writer([&](int news) {
            auto own = open_control("dir:" + (scratch / "control")).value();
            for (int i = 0;; ++i) {
                const std::string value(static_cast<std::size_t>(i * 997 % 60000), static_cast<char>('a' + i % 26));
                if (!own->put("p/head", as_bytes_of(value), nullptr)) return 1;
                ChildProcess::tell(news, 'x');
            }
        });
        writer.hear();
        const Deadline kill_at = std::chrono::microseconds(random() % 20000);
        while (!kill_at.expired()) {
            const auto entries = control->read("p/head");
            ASSERT_OK(entries);
            ASSERT_EQ(entries->size(), 1u);
            EXPECT_GE(entries->at(0).revision, last);
            last = entries->at(0).revision;
        }
        writer.signal(SIGKILL);
        EXPECT_EQ(writer.wait(), -SIGKILL);
        ASSERT_OK(control->read("p/head"));
    }
}

// Puts "x" under a lease and waits to be killed.
int hold_a_lease(const std::string& folder, Deadline::clock::duration time_to_live, int news) {
    auto control = open_control("dir:" + folder).value();
    auto lease = control->open_lease(time_to_live).value();
    if (!control->put("rank/0", as_bytes_of("x"), lease.get())) return 1;
    ChildProcess::tell(news, 'r');
    while (true) ::pause();
}

TEST(ControlProcesses, a_lease_ends_at_once_when_its_owner_is_killed) {
    const testing::TemporaryDirectory scratch;
    const auto folder = scratch / "control";
    auto control = open_control("dir:" + folder).value();
    ChildProcess owner([&](int news) { return hold_a_lease(folder, 1h, news); });
    ASSERT_EQ(owner.hear(), 'r');
    auto watch = control->watch("rank").value();
    EXPECT_EQ(watch->wait(20s).value().size(), 1u);
    EXPECT_EQ(text_of(control->read("rank")), "x");
    owner.signal(SIGKILL);
    const auto changes = watch->wait(20s);  // not reaped yet: a zombie is dead
    ASSERT_OK(changes);
    EXPECT_EQ(changes->at(0).revision, 0u);
    owner.wait();
    EXPECT_EQ(text_of(control->read("rank")), "(none)");
    EXPECT_TRUE(std::filesystem::is_empty(folder + "/leases"));
    EXPECT_TRUE(std::filesystem::is_empty(folder + "/values"));  // tidied by who saw it
}

TEST(ControlProcesses, a_lease_ends_after_its_time_when_its_owner_is_stopped) {
    const testing::TemporaryDirectory scratch;
    const auto folder = scratch / "control";
    ChildProcess owner([&](int news) {
        auto own = open_control("dir:" + folder).value();
        auto lease = own->open_lease(1h).value();
        if (!own->put("rank/0", as_bytes_of("x"), lease.get())) return 1;
        ChildProcess::tell(news, 'r');
        // Goes on when the file of its lease has gone; a put under it must fail.
        while (std::filesystem::exists(folder + "/leases/" + lease->id())) ::sched_yield();
        return own->put("rank/0", as_bytes_of("y"), lease.get()).has_value() ? 2 : 0;
    });
    ASSERT_EQ(owner.hear(), 'r');
    owner.stop();
    auto now = Deadline::clock::now();
    auto options = options_of(folder);
    options.clock = [&] { return now; };
    auto control = open_directory_control(options).value();
    EXPECT_EQ(text_of(control->read("rank")), "x");
    now += 1h - 1ns;
    EXPECT_EQ(text_of(control->read("rank")), "x");
    now += 1ns;
    EXPECT_EQ(text_of(control->read("rank")), "(none)");
    owner.signal(SIGCONT);
    EXPECT_EQ(owner.wait(), 0);
    EXPECT_EQ(text_of(control->read("rank")), "(none)");
}

TEST(ControlProcesses, a_process_stopped_within_a_change_is_named_by_its_lock) {
    const testing::TemporaryDirectory scratch;
    ChildProcess holder([&](int news) {
        auto options = options_of(scratch / "control");
        options.at_step = [news](WriteStep step) {
            if (step != WriteStep::created) return;
            ChildProcess::tell(news, 'l');
            ::raise(SIGSTOP);
        };
        return open_directory_control(options).value()->put("k", as_bytes_of("child"), nullptr) ? 0 : 1;
    });
    ASSERT_EQ(holder.hear(), 'l');
    auto options = options_of(scratch / "control");
    options.lock_patience = 20ms;
    auto control = open_directory_control(options).value();
    EXPECT_THAT(control->put("k", as_bytes_of("parent"), nullptr), HasError(Code::timed_out, "/locks/"));
    EXPECT_EQ(text_of(control->read("k")), "(none)");  // readers are not held up
    holder.signal(SIGCONT);
    EXPECT_EQ(holder.wait(), 0);
    EXPECT_EQ(text_of(control->read("k")), "child");
}

TEST(ControlProcesses, a_forked_child_does_not_end_its_parents_leases) {
    const testing::TemporaryDirectory scratch;
    auto control = open_control("dir:" + (scratch / "control")).value();
    auto lease = control->open_lease(1h).value();
    ASSERT_OK(control->put("k", as_bytes_of("x"), lease.get()));
    ChildProcess child([&](int) {
        lease.reset();
        control.reset();
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(text_of(control->read("k")), "x");
}

// Runs the body in a child as the user nobody where the test is root, who may do everything.
int as_nobody(const std::function<int()>& body) {
    ChildProcess child([&](int) {
        if (::geteuid() == 0 && (::setegid(65534) != 0 || ::seteuid(65534) != 0)) return 99;
        return body();
    });
    return child.wait();
}

TEST(ControlProcesses, a_folder_without_permission_is_a_clear_error) {
    const testing::TemporaryDirectory scratch;
    std::filesystem::create_directory(scratch / "locked");
    ASSERT_EQ(::chmod(scratch.path().c_str(), 0755), 0);
    ASSERT_EQ(::chmod((scratch / "locked").c_str(), 0000), 0);
    EXPECT_EQ(as_nobody([&] {
                  const auto control = open_control("dir:" + (scratch / "locked/control"));
                  return !control && control.error().code == Code::io_error && control.error().message.find("uid") != std::string::npos ? 0 : 1;
              }),
              0);
    EXPECT_EQ(as_nobody([&] {
                  const auto control = open_control("dir:" + (scratch / "locked"));
                  if (!control) return 2;
                  const auto read = (*control)->read("k");
                  return !read && read.error().message.find(scratch / "locked") != std::string::npos ? 0 : 3;
              }),
              0);
    ASSERT_EQ(::chmod((scratch / "locked").c_str(), 0700), 0);
}

TEST(ControlProcesses, a_folder_that_may_only_be_read_can_be_read) {
    const testing::TemporaryDirectory scratch;
    const auto folder = scratch / "control";
    auto control = open_control("dir:" + folder).value();
    ASSERT_OK(control->put("k", as_bytes_of("x"), nullptr));
    const auto open_to_read = [](const std::string& path, mode_t mode) { ASSERT_EQ(::chmod(path.c_str(), mode), 0); };
    open_to_read(scratch.path(), 0755);
    for (const auto& item : std::filesystem::recursive_directory_iterator(folder)) {
        open_to_read(item.path().string(), item.is_directory() ? 0555 : 0444);
    }
    open_to_read(folder, 0555);
    EXPECT_EQ(as_nobody([&] {
                  auto own = open_control("dir:" + folder).value();
                  if (text_of(own->read("k")) != "x") return 1;
                  if (text_of(own->watch("k").value()->wait(20s)) != "x") return 2;
                  const auto put = own->put("k", as_bytes_of("y"), nullptr);
                  if (put || put.error().message.find("uid") == std::string::npos) return 3;
                  return own->open_lease(10s) ? 4 : 0;
              }),
              0);
    for (const auto& item : std::filesystem::recursive_directory_iterator(folder)) {
        if (item.is_directory()) open_to_read(item.path().string(), 0700);
    }
    open_to_read(folder, 0700);
}

TEST(ControlProcesses, a_write_that_finds_no_room_leaves_the_old_value) {
    const testing::TemporaryDirectory scratch;
    const auto folder = scratch / "control";
    auto control = open_control("dir:" + folder).value();
    ASSERT_OK(control->put("k", as_bytes_of("old"), nullptr));
    ChildProcess writer([&](int) {
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{100, 100};  // bytes a file: the write after that fails, as on a full disk
        if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
        auto own = open_control("dir:" + folder).value();
        const auto put = own->put("k", Bytes(1000, std::byte{'n'}), nullptr);
        if (put || put.error().code != Code::resource_exhausted) return 2;
        return put.error().message.find("k,value") != std::string::npos ? 0 : 3;
    });
    EXPECT_EQ(writer.wait(), 0);
    EXPECT_EQ(text_of(control->read("k")), "old");
    EXPECT_FALSE(std::filesystem::exists(folder + "/values/k,value,new"));
}

}  // namespace
}  // namespace wsync
