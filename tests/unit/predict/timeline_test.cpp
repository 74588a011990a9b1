#include "wsync/predict/timeline.hpp"

#include "result_matchers.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>

namespace wsync {
namespace {

using testing::HasError;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Timeline, IsTheTutorialsForItsTwoMethods) {
    const auto lines = timelines(tutorial_profile(), default_model_size()).value();
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0].method, "cuda_ipc");
    EXPECT_NEAR(lines[0].iteration_seconds, 50.002, 1e-9);
    EXPECT_NEAR(lines[0].overhead_percent, 100 * 0.002 / 50.002, 1e-9);
    EXPECT_EQ(iteration_text(lines[0].iteration_seconds), "50.002 s");
    EXPECT_EQ(overhead_text(lines[0].overhead_percent), "0.0 % (0.004)");
    EXPECT_EQ(lines[1].method, "nccl_ib");
    EXPECT_NEAR(lines[1].iteration_seconds, 55.7, 1e-9);
    EXPECT_NEAR(lines[1].overhead_percent, 100 * 5.7 / 55.7, 1e-9);
    EXPECT_EQ(iteration_text(lines[1].iteration_seconds), "55.70 s");
    EXPECT_EQ(overhead_text(lines[1].overhead_percent), "10.2 %");
}

TEST(Timeline, CountsTheTransferTwiceAsTheTutorialAndOnceElsewhere) {
    const auto twice = timeline(tutorial_profile(), default_model_size(), "nccl_ib").value();
    EXPECT_EQ(twice.transfers_per_iteration, 2u);
    ASSERT_EQ(twice.phases.size(), 4u);
    EXPECT_EQ(twice.phases[0].name, "generation");
    EXPECT_EQ(twice.phases[1].name, "transfer (train → infer)");
    EXPECT_EQ(twice.phases[2].name, "training");
    EXPECT_EQ(twice.phases[3].name, "transfer (infer ← train)");

    const auto once = timeline(tutorial_stages_profile(), default_model_size(), "nccl").value();
    EXPECT_EQ(once.transfers_per_iteration, 1u);
    EXPECT_NEAR(once.iteration_seconds, 59.8, 1e-9);
    EXPECT_NEAR(once.overhead_percent, 100 * 9.8 / 59.8, 1e-9);
    EXPECT_EQ(once.phases.size(), 3u);
    EXPECT_THAT(text_of(once), HasSubstr("samples"));
    EXPECT_THAT(text_of(once), HasSubstr("not weights"));
}

TEST(Timeline, TakesOtherPhases) {
    const auto line = timeline(tutorial_profile(), model_size_from_gigabytes("0.5").value(), "disk_hdd", {10, 4}).value();
    EXPECT_NEAR(line.iteration_seconds, 20.0, 1e-9);
    EXPECT_NEAR(line.overhead_percent, 30.0, 1e-9);
    EXPECT_EQ(iteration_text(1451.0), "1451.00 s (24.2 min)");
}

TEST(Timeline, RefusesUnknownMethodsAndBadTimes) {
    EXPECT_THAT(timeline(tutorial_profile(), default_model_size(), "nccl"), HasError(Code::invalid_argument, "nccl_ib"));
    const double bad[] = {-1, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 1e300};
    for (const double seconds : bad) {
        EXPECT_THAT(timeline(tutorial_profile(), default_model_size(), "nccl_ib", {seconds, 20}), HasError(Code::invalid_argument, "generation"));
        EXPECT_THAT(timeline(tutorial_profile(), default_model_size(), "nccl_ib", {30, seconds}), HasError(Code::invalid_argument, "training"));
    }
}

TEST(TimelineBar, IsAsWideAsAskedAndShowsEveryPhase) {
    for (const auto& profile : {tutorial_profile(), tutorial_stages_profile()}) {
        for (const char* size : {"1e-9", "0.5", "140", "1027.25", "9e9"}) {
            for (const auto& method : profile.methods) {
                for (const TimelineOptions options : {TimelineOptions{30, 20}, TimelineOptions{0, 0}, TimelineOptions{1e9, 0}}) {
                    const auto line = timeline(profile, model_size_from_gigabytes(size).value(), method.id, options).value();
                    for (const unsigned columns : {16u, 40u, 76u, 200u}) {
                        const std::string bar = bar_of(line, columns);
                        const auto walls = static_cast<std::size_t>(std::count(bar.begin(), bar.end(), '|'));
                        EXPECT_EQ(bar.size(), columns + walls);
                        const auto timed = std::count_if(line.phases.begin(), line.phases.end(), [](const Phase& phase) { return phase.seconds > 0; });
                        EXPECT_EQ(walls, static_cast<std::size_t>(timed) + 1) << bar;
                    }
                }
            }
        }
    }
}

TEST(TimelineBar, IsDrawnToScale) {
    const std::string bar = bar_of(timeline(tutorial_profile(), default_model_size(), "nccl_ib").value(), 100);
    EXPECT_NEAR(static_cast<double>(std::count(bar.begin(), bar.end(), '>')), 100 * 2.85 / 55.7, 1);
    EXPECT_EQ(std::count(bar.begin(), bar.end(), '<'), std::count(bar.begin(), bar.end(), '>'));
    EXPECT_NEAR(static_cast<double>(bar.find('|', 1)), 1 + 100 * 30 / 55.7, 1);
}

TEST(TimelineDocument, HasTheSchemasKeysInOrder) {
    const auto document = nlohmann::ordered_json::parse(json_of(timeline(tutorial_profile(), default_model_size(), "cuda_ipc").value()));
    std::vector<std::string> keys;
    for (const auto& [key, value] : document.items()) keys.push_back(key);
    EXPECT_THAT(keys, ElementsAre("schema", "profile", "model", "method", "method_name", "generation_seconds", "training_seconds", "transfer_seconds",
                                  "transfers_per_iteration", "iteration_seconds", "overhead_percent"));
    EXPECT_EQ(document["schema"], "wsync.timeline/1");
    EXPECT_EQ(document["transfer_seconds"].get<double>(), 0.001);
    const auto list = nlohmann::json::parse(json_of(timelines(tutorial_profile(), default_model_size()).value()));
    ASSERT_TRUE(list.is_array());
    EXPECT_EQ(list[1]["method_name"], "NCCL (InfiniBand)");
}

}  // namespace
}  // namespace wsync
