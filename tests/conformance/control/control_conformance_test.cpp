// What every control must do. A new control is one more row at the end.
#include "control/control.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

namespace wsync {
namespace {

using namespace std::chrono_literals;
using testing::HasCode;
using testing::HasError;
using ::testing::ElementsAre;

constexpr auto kLong = 20s;  // a deadline that a passing test never reaches

std::string text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::vector<std::string> shown(const std::vector<ControlEntry>& entries) {
    std::vector<std::string> lines;
    for (const auto& entry : entries) lines.push_back(entry.revision == 0 ? entry.key + " removed" : entry.key + "=" + text_of(entry.value));
    std::sort(lines.begin(), lines.end());
    return lines;
}

struct Kind {
    std::string name;
    bool in_folder = false;
};

// Two ends of one control: two users of a name, or two openings of a folder.
class ControlConformance : public ::testing::TestWithParam<Kind> {
protected:
    void SetUp() override {
        const auto address = GetParam().in_folder ? "dir:" + (scratch_ / "control") : "local:conformance";
        a_ = open_control(address).value();
        b_ = open_control(address).value();
    }
    Revision put(Control& control, const std::string& key, std::string_view value, const Lease* lease = nullptr) {
        return control.put(key, as_bytes_of(value), lease).value();
    }
    std::vector<std::string> read(Control& control, const std::string& prefix) { return shown(control.read(prefix).value()); }

    testing::TemporaryDirectory scratch_;
    std::shared_ptr<Control> a_, b_;
};

TEST_P(ControlConformance, what_one_puts_the_other_reads) {
    const auto revision = put(*a_, "policy/head", "one");
    EXPECT_GT(revision, 0u);
    const auto entries = b_->read("policy/head").value();
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].key, "policy/head");
    EXPECT_EQ(text_of(entries[0].value), "one");
    EXPECT_EQ(entries[0].revision, revision);
    EXPECT_EQ(a_->address(), b_->address());
}

TEST_P(ControlConformance, each_change_of_a_key_grows_its_revision) {
    Revision last = 0;
    for (int i = 0; i < 5; ++i) {
        const auto revision = put(i % 2 == 0 ? *a_ : *b_, "k", "same");
        EXPECT_GT(revision, last);
        last = revision;
    }
}

TEST_P(ControlConformance, compare_and_put_wants_the_present_revision) {
    const auto first = a_->compare_and_put("k", 0, as_bytes_of("one"), nullptr);
    ASSERT_OK(first);
    EXPECT_THAT(b_->compare_and_put("k", 0, as_bytes_of("two"), nullptr), HasError(Code::unavailable, "\"k\""));
    EXPECT_THAT(b_->compare_and_put("k", *first + 1, as_bytes_of("two"), nullptr), HasCode(Code::unavailable));
    EXPECT_THAT(read(*a_, "k"), ElementsAre("k=one"));
    ASSERT_OK(b_->compare_and_put("k", *first, as_bytes_of("two"), nullptr));
    EXPECT_THAT(read(*a_, "k"), ElementsAre("k=two"));
    EXPECT_THAT(a_->compare_and_put("other", 7, as_bytes_of("x"), nullptr), HasCode(Code::unavailable));
}

TEST_P(ControlConformance, a_revision_from_before_a_removal_never_matches_again) {
    const auto before = put(*a_, "k", "one");
    ASSERT_OK(a_->remove("k"));
    const auto after = put(*b_, "k", "two");
    EXPECT_GT(after, before);
    EXPECT_THAT(a_->compare_and_put("k", before, as_bytes_of("three"), nullptr), HasCode(Code::unavailable));
}

TEST_P(ControlConformance, a_prefix_ends_at_a_segment_and_the_answer_is_sorted) {
    for (const auto* key : {"p/v10/1", "p/v1/0", "p/v1", "p/v1/1", "q", "p.x/y", "p/v1-x"}) put(*a_, key, key);
    EXPECT_THAT(read(*b_, "p/v1"), ElementsAre("p/v1/0=p/v1/0", "p/v1/1=p/v1/1", "p/v1=p/v1"));
    EXPECT_THAT(read(*b_, "p/v1/0"), ElementsAre("p/v1/0=p/v1/0"));
    EXPECT_TRUE(read(*b_, "p/v").empty());
    const auto all = b_->read("").value();
    EXPECT_EQ(all.size(), 7u);
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end(), [](const auto& x, const auto& y) { return x.key < y.key; }));
}

TEST_P(ControlConformance, removing_what_is_not_there_is_no_error) {
    EXPECT_OK(a_->remove("never/was"));
    put(*a_, "k/deep/er", "x");
    EXPECT_OK(b_->remove("k/deep/er"));
    EXPECT_OK(b_->remove("k/deep/er"));
    EXPECT_TRUE(read(*a_, "").empty());
}

TEST_P(ControlConformance, bad_keys_are_refused_by_every_call) {
    const std::vector<std::string> bad = {"/", "/a", "a/", "a//b", ".", "..", "a/../b", "../../etc/passwd", "a b", "a,value", "a\nb",
                                          std::string("a\0b", 3), "\xc3\xa4", std::string(129, 'x'), std::string(300, 'x') + "/" + std::string(300, 'y')};
    for (const auto& key : bad) {
        EXPECT_THAT(a_->put(key, as_bytes_of("x"), nullptr), HasCode(Code::invalid_argument)) << key;
        EXPECT_THAT(a_->compare_and_put(key, 0, as_bytes_of("x"), nullptr), HasCode(Code::invalid_argument)) << key;
        EXPECT_THAT(a_->remove(key), HasCode(Code::invalid_argument)) << key;
        EXPECT_THAT(a_->read(key), HasCode(Code::invalid_argument)) << key;
        EXPECT_FALSE(a_->watch(key).has_value()) << key;
    }
    EXPECT_THAT(a_->put("", as_bytes_of("x"), nullptr), HasCode(Code::invalid_argument));
    EXPECT_TRUE(read(*b_, "").empty());
}

TEST_P(ControlConformance, keys_and_values_at_their_limits) {
    std::string key(128, 'k');
    while (key.size() + 129 <= 512) key += "/" + std::string(128, '@');
    const Bytes full(kMaxControlValueBytes, std::byte{0x5a});
    const Bytes over(kMaxControlValueBytes + 1, std::byte{0x5a});
    ASSERT_OK(a_->put(key, full, nullptr));
    EXPECT_THAT(a_->put(key, over, nullptr), HasError(Code::invalid_argument, "65537"));
    ASSERT_OK(a_->put("empty", {}, nullptr));
    EXPECT_EQ(b_->read(key).value().at(0).value, full);
    EXPECT_TRUE(b_->read("empty").value().at(0).value.empty());
}

TEST_P(ControlConformance, values_under_a_lease_go_with_it) {
    auto lease = a_->open_lease(10s).value();
    put(*a_, "r/0", "leased", lease.get());
    put(*a_, "r/1", "kept");
    EXPECT_THAT(read(*b_, "r"), ElementsAre("r/0=leased", "r/1=kept"));
    lease.reset();
    EXPECT_THAT(read(*b_, "r"), ElementsAre("r/1=kept"));
    EXPECT_OK(b_->compare_and_put("r/0", 0, as_bytes_of("new"), nullptr));
}

TEST_P(ControlConformance, a_value_put_again_elsewise_outlives_the_first_lease) {
    auto first = a_->open_lease(10s).value();
    auto second = b_->open_lease(10s).value();
    EXPECT_NE(first->id(), second->id());
    put(*a_, "x", "1", first.get());
    put(*a_, "y", "1", first.get());
    put(*b_, "x", "2");
    put(*b_, "y", "2", second.get());
    first.reset();
    EXPECT_THAT(read(*a_, ""), ElementsAre("x=2", "y=2"));
    second.reset();
    EXPECT_THAT(read(*a_, ""), ElementsAre("x=2"));
}

TEST_P(ControlConformance, a_lease_of_another_control_is_refused) {
    auto stranger = open_control(GetParam().in_folder ? "dir:" + (scratch_ / "elsewhere") : "local:").value();
    auto lease = stranger->open_lease(10s).value();
    EXPECT_THAT(a_->put("k", as_bytes_of("x"), lease.get()), HasError(Code::invalid_argument, "lease"));
    EXPECT_THAT(a_->open_lease(0s), HasCode(Code::invalid_argument));
}

TEST_P(ControlConformance, a_watch_first_tells_all_that_is_there_and_then_what_changed) {
    put(*a_, "p/a", "1");
    put(*a_, "p/b", "1");
    put(*a_, "q", "1");
    auto watch = b_->watch("p").value();
    EXPECT_THAT(shown(watch->wait(kLong).value()), ElementsAre("p/a=1", "p/b=1"));
    EXPECT_THAT(watch->wait(Deadline::now()), HasCode(Code::timed_out));
    put(*a_, "p/b", "2");
    put(*a_, "q", "2");
    EXPECT_THAT(shown(watch->wait(kLong).value()), ElementsAre("p/b=2"));
    ASSERT_OK(a_->remove("p/a"));
    EXPECT_THAT(shown(watch->wait(kLong).value()), ElementsAre("p/a removed"));
    EXPECT_THAT(watch->wait(Deadline(60ms)), HasCode(Code::timed_out));
}

TEST_P(ControlConformance, a_watch_may_skip_values_but_not_the_newest) {
    auto watch = b_->watch("k").value();
    for (int i = 1; i <= 20; ++i) put(*a_, "k", std::to_string(i));
    EXPECT_THAT(shown(watch->wait(kLong).value()), ElementsAre("k=20"));
    ASSERT_OK(a_->remove("k"));
    put(*a_, "k", "21");
    EXPECT_THAT(shown(watch->wait(kLong).value()), ElementsAre("k=21"));
}

TEST_P(ControlConformance, a_waiting_watch_wakes_for_a_change_of_another_end) {
    auto watch = b_->watch("deep/er/key").value();
    std::thread writer([&] { put(*a_, "deep/er/key/x", "1"); });
    const auto changes = watch->wait(kLong);
    writer.join();
    ASSERT_OK(changes);
    EXPECT_THAT(shown(*changes), ElementsAre("deep/er/key/x=1"));
}

TEST_P(ControlConformance, a_watch_sees_a_lease_end) {
    auto lease = a_->open_lease(10s).value();
    put(*a_, "r/0", "x", lease.get());
    auto watch = b_->watch("r").value();
    ASSERT_OK(watch->wait(kLong));
    std::thread ender([&] { lease.reset(); });
    const auto changes = watch->wait(kLong);
    ender.join();
    ASSERT_OK(changes);
    EXPECT_THAT(shown(*changes), ElementsAre("r/0 removed"));
}

TEST_P(ControlConformance, wake_ends_one_wait) {
    auto watch = a_->watch("nothing").value();
    std::thread waker([&] { watch->wake(); });
    EXPECT_THAT(watch->wait(kLong), HasCode(Code::cancelled));
    waker.join();
    EXPECT_THAT(watch->wait(Deadline::now()), HasCode(Code::timed_out));
    watch->wake();
    EXPECT_THAT(watch->wait(kLong), HasCode(Code::cancelled));
}

TEST_P(ControlConformance, leases_and_watches_may_outlive_their_control) {
    auto lease = a_->open_lease(10s).value();
    put(*a_, "k", "x", lease.get());
    auto watch = a_->watch("k").value();
    a_.reset();
    EXPECT_THAT(shown(watch->wait(kLong).value()), ElementsAre("k=x"));
    EXPECT_THAT(read(*b_, "k"), ElementsAre("k=x"));
    lease.reset();
    EXPECT_TRUE(read(*b_, "k").empty());
    EXPECT_THAT(shown(watch->wait(kLong).value()), ElementsAre("k removed"));
}

TEST_P(ControlConformance, of_many_threads_exactly_one_wins_each_revision) {
    constexpr int kThreads = 4, kWins = 25;
    put(*a_, "n", "0");
    std::vector<std::thread> threads;
    std::atomic<int> wins = 0;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            Control& control = t % 2 == 0 ? *a_ : *b_;
            for (int won = 0; won < kWins;) {
                const auto entry = control.read("n").value().at(0);
                const auto next = std::to_string(std::stoi(text_of(entry.value)) + 1);
                const auto put = control.compare_and_put("n", entry.revision, as_bytes_of(next), nullptr);
                if (!put) {
                    EXPECT_EQ(put.error().code, Code::unavailable) << put.error().to_string();
                    continue;
                }
                ++won;
                ++wins;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wins, kThreads * kWins);
    EXPECT_THAT(read(*a_, "n"), ElementsAre("n=" + std::to_string(kThreads * kWins)));
}

INSTANTIATE_TEST_SUITE_P(Controls, ControlConformance, ::testing::Values(Kind{"in_process", false}, Kind{"directory", true}),
                         [](const auto& row) { return row.param.name; });

TEST(OpenControl, names_what_there_is) {
    EXPECT_THAT(open_control("etcd://host"), HasError(Code::invalid_argument, "dir:PATH"));
    EXPECT_THAT(open_control(""), HasError(Code::invalid_argument, "local:NAME"));
    EXPECT_THAT(open_control("dir:"), HasCode(Code::invalid_argument));
}

TEST(OpenControl, a_local_control_without_a_name_is_nobody_elses_and_a_name_goes_with_its_last_user) {
    auto one = open_control("local:").value();
    auto two = open_control("local:").value();
    ASSERT_OK(one->put("k", as_bytes_of("x"), nullptr));
    EXPECT_TRUE(two->read("").value().empty());
    auto named = open_control("local:gone").value();
    ASSERT_OK(named->put("k", as_bytes_of("x"), nullptr));
    named.reset();
    EXPECT_TRUE(open_control("local:gone").value()->read("").value().empty());
}

}  // namespace
}  // namespace wsync
