#include "wsync/report/metrics_text.hpp"
#include "wsync/report/progress.hpp"
#include "wsync/report/stage_bar.hpp"
#include "wsync/report/sync_json.hpp"
#include "wsync/report/table.hpp"
#include "wsync/report/trace.hpp"
#include "wsync/report/units.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <limits>
#include <nlohmann/json.hpp>

namespace wsync {
namespace {

using ::testing::HasSubstr;

// The trainer's own stages come before the record is seen, letting go of the old version after the new one is active.
TEST(Stages, TheHandOverIsWhatLiesBetweenRecordAndActive) {
    StageSeconds stages;
    for (int i = 0; i < kStageCount; ++i) stages[static_cast<Stage>(i)] = 1 << i;
    EXPECT_EQ(stages.hand_over(), (1 << 12) - 1 - 1 - 2);
}

TEST(Units, bytes_have_three_digits_and_the_unit_that_fits) {
    EXPECT_EQ(show_bytes(0), "0 B");
    EXPECT_EQ(show_bytes(72), "72 B");
    EXPECT_EQ(show_bytes(999), "999 B");
    EXPECT_EQ(show_bytes(1000), "1.00 kB");
    EXPECT_EQ(show_bytes(90'868'376), "90.9 MB");
    EXPECT_EQ(show_bytes(988'065'536), "988 MB");
    EXPECT_EQ(show_bytes(15'231'233'024), "15.2 GB");
    EXPECT_EQ(show_bytes(18'446'744'073'709'551'615u), "18446744 TB");
}

TEST(Units, rounding_never_shows_a_fourth_digit) {
    EXPECT_EQ(show_bytes(9'996), "10.0 kB");
    EXPECT_EQ(show_bytes(99'960), "100 kB");
    EXPECT_EQ(show_bytes(999'499), "999 kB");
    EXPECT_EQ(show_bytes(999'500), "1.00 MB");
    EXPECT_EQ(show_bytes(999'999'999), "1.00 GB");
    EXPECT_EQ(show_seconds(0.0009996), "1.00 ms");
    EXPECT_EQ(show_seconds(0.9997), "1.00 s");
}

TEST(Units, seconds_rates_and_shares) {
    EXPECT_EQ(show_seconds(0), "0 us");
    EXPECT_EQ(show_seconds(38e-6), "38 us");
    EXPECT_EQ(show_seconds(0.01134), "11.3 ms");
    EXPECT_EQ(show_seconds(2.849), "2.85 s");
    EXPECT_EQ(show_seconds(702), "11.7 min");
    EXPECT_EQ(show_rate(4.2e9), "4.20 GB/s");
    EXPECT_EQ(show_rate(12.44e9), "12.4 GB/s");
    EXPECT_EQ(show_percent(0.931), "93 %");
}

TEST(Table, aligns_by_characters_and_leaves_no_trailing_spaces) {
    Table table({{"method", Table::Align::left}, {"µs", Table::Align::right}, {"note", Table::Align::left}});
    table.add({"shm · copy", "7"});
    table.add({"tcp", "1234", "loopback", "dropped"});
    EXPECT_EQ(table.render(),
              "method        µs  note\n"
              "shm · copy     7\n"
              "tcp         1234  loopback\n");
    EXPECT_EQ(text_width("a·b"), 3u);
}

StageSeconds stages_of(double prepare, double move, double verify) {
    StageSeconds stages;
    stages[Stage::prepare] = prepare;
    stages[Stage::move] = move;
    stages[Stage::verify] = verify;
    return stages;
}

TEST(StageBar, shares_its_width_by_the_stages_seconds) {
    EXPECT_EQ(stage_bar(stages_of(1, 2, 1), 8), "ppmmmmvv");
    EXPECT_EQ(stage_bar(stages_of(1, 2, 1), 8, 8), "pmmv");
    EXPECT_EQ(stage_bar(StageSeconds{}, 8), "");
    EXPECT_EQ(stage_words(stages_of(0.012, 0.088, 0.0001)), "prepare 12.0 ms, move 88.0 ms");
    for (std::size_t width = 0; width < 40; ++width) EXPECT_EQ(stage_bar(stages_of(1, 1, 1), width).size(), width);
}

TEST(ProgressBar, fills_and_cuts_to_its_width) {
    EXPECT_EQ(progress_bar(0.5, "moving", 60), "██████████░░░░░░░░░░  50 %  moving");
    EXPECT_EQ(progress_bar(2, "", 12), "████ 100 %");
    EXPECT_EQ(progress_bar(std::numeric_limits<double>::quiet_NaN(), "", 12), "░░░░   0 %");
    for (std::size_t width = 14; width < 90; ++width) {
        EXPECT_LE(text_width(progress_bar(0.3, "großer Übergang großer Übergang großer Übergang großer Übergang", width)), width);
    }
}

TEST(SyncReport, its_total_is_the_sum_of_its_stages) {
    SyncReport report;
    for (int i = 0; i < kStageCount; ++i) report.stages[static_cast<Stage>(i)] = i;
    EXPECT_DOUBLE_EQ(report.seconds(), 78);
    const auto metrics = report.metrics();
    EXPECT_DOUBLE_EQ(metrics.at("wsync/seconds"), 78);
    EXPECT_DOUBLE_EQ(metrics.at("wsync/stage/release"), 12);
}

TEST(SyncJson, survives_text_that_is_no_utf_8) {
    SyncReport report;
    report.name = "bad \xff name";
    report.notes = {"\xc3"};
    const auto json = nlohmann::json::parse(to_json(report));
    EXPECT_EQ(json["schema"], "wsync.sync/1");
    EXPECT_EQ(json["name"], "bad \xef\xbf\xbd name");
    EXPECT_EQ(to_json(report, -1).find('\n'), std::string::npos);
}

TEST(Trace, one_row_a_name_and_the_stages_follow_each_other) {
    SyncReport report;
    report.version = "policy@1.4";
    report.stages = stages_of(0.001, 0.002, 0);
    const TracedSync syncs[] = {{&report, "receiver 1", 1.0}, {&report, "receiver 2", 1.5}, {&report, "receiver 1", 2.0}, {nullptr, "none", 0}};
    const auto json = nlohmann::json::parse(to_chrome_trace(syncs));
    const auto& events = json["traceEvents"];
    EXPECT_EQ(std::count_if(events.begin(), events.end(), [](const auto& e) { return e["ph"] == "M"; }), 2);
    EXPECT_EQ(events.size(), 2u + 3u * 3u);
    EXPECT_EQ(events[2]["name"], "prepare");
    EXPECT_DOUBLE_EQ(events[2]["ts"], 1e6);
    EXPECT_EQ(events[3]["name"], "move");
    EXPECT_DOUBLE_EQ(events[3]["ts"], 1.001e6);
    EXPECT_DOUBLE_EQ(events[3]["dur"], 2000);
}

TEST(MetricsText, escapes_labels) {
    SyncReport report;
    report.name = "a\"b\\c\nd";
    EXPECT_THAT(to_metrics_text(report), HasSubstr("wsync_sync_seconds{name=\"a\\\"b\\\\c\\nd\",method=\"\"} 0\n"));
}

}  // namespace
}  // namespace wsync
