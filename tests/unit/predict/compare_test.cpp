#include "wsync/predict/compare.hpp"

#include "result_matchers.hpp"

#include <nlohmann/json.hpp>

namespace wsync {
namespace {

using testing::HasError;
using ::testing::ElementsAre;

ModelSize gigabytes(const char* text) { return model_size_from_gigabytes(text).value(); }

std::vector<std::string> ids_of(const PlacementComparison& placement, bool feasible) {
    std::vector<std::string> ids;
    for (const auto& prediction : placement.methods) {
        if (prediction.feasible == feasible) ids.push_back(prediction.method.id);
    }
    return ids;
}

const MethodPrediction& method_of(const Comparison& comparison, std::string_view id) {
    for (const auto& prediction : comparison.placements.front().methods) {
        if (prediction.method.id == id) return prediction;
    }
    throw std::runtime_error("no such method");
}

struct Expected {
    const char* id;
    double seconds_140, seconds_half, seconds_1027;
    const char* text_140;
    const char* verdict_140;
};

// Worked out by hand from milliseconds = GB / (GB/s) x 1000 + set-up.
const Expected kTutorial[] = {
    {"disk_ssd", 20.1, 0.5 / 7 + 0.1, 1027.25 / 7 + 0.1, "20.10 s", "Acceptable"},
    {"disk_hdd", 700.5, 3.0, 5136.75, "11.7 min", "Slow"},
    {"nccl_nvlink", 0.32111111111111111, 0.01111111111111111, 2.29277777777777778, "0.32 s", "Excellent"},
    {"nccl_ib", 2.85, 0.06, 20.595, "2.85 s", "Good"},
    {"nccl_ethernet", 11.3, 0.14, 82.28, "11.30 s", "Acceptable"},
    {"cuda_ipc", 0.001, 0.001, 0.001, "1.0 ms", "Zero copy!"},
};

TEST(Compare, GivesTheTutorialsFiguresToTheDigit) {
    const auto at_140 = compare(tutorial_profile(), default_model_size()).value();
    const auto at_half = compare(tutorial_profile(), gigabytes("0.5")).value();
    const auto at_1027 = compare(tutorial_profile(), gigabytes("1027.25")).value();
    for (const auto& expected : kTutorial) {
        EXPECT_NEAR(method_of(at_140, expected.id).seconds, expected.seconds_140, 1e-9) << expected.id;
        EXPECT_NEAR(method_of(at_half, expected.id).seconds, expected.seconds_half, 1e-9) << expected.id;
        EXPECT_NEAR(method_of(at_1027, expected.id).seconds, expected.seconds_1027, 1e-9) << expected.id;
        EXPECT_EQ(duration_text(method_of(at_140, expected.id).seconds), expected.text_140);
        EXPECT_EQ(method_of(at_140, expected.id).verdict, expected.verdict_140);
        EXPECT_NEAR(method_of(at_140, expected.id).percent_of_disk.value(), 100 * expected.seconds_140 / 20.1, 1e-9);
    }
}

TEST(Compare, KeepsWhatWorksInEachPlacementAndSaysWhyTheRestDoesNot) {
    const auto comparison = compare(tutorial_profile(), default_model_size()).value();
    ASSERT_EQ(comparison.placements.size(), 3u);
    const auto& co_located = comparison.placements[0];
    const auto& same_node = comparison.placements[1];
    const auto& cross_node = comparison.placements[2];
    EXPECT_EQ(name_of(co_located.placement), "co-located");
    EXPECT_EQ(name_of(same_node.placement), "disaggregated-same-node");
    EXPECT_EQ(name_of(cross_node.placement), "disaggregated-cross-node");
    EXPECT_THAT(ids_of(co_located, true), ElementsAre("disk_ssd", "disk_hdd", "nccl_nvlink", "nccl_ib", "nccl_ethernet", "cuda_ipc"));
    EXPECT_EQ(ids_of(same_node, true), ids_of(co_located, true));
    EXPECT_THAT(ids_of(cross_node, true), ElementsAre("disk_ssd", "disk_hdd", "nccl_ib", "nccl_ethernet"));
    for (const auto& prediction : cross_node.methods) EXPECT_EQ(prediction.feasible, prediction.reason.empty()) << prediction.method.id;
}

TEST(Compare, PathsAreTheTutorialsAndTheirSecondsAddUp) {
    for (const auto& profile : {tutorial_profile(), tutorial_stages_profile()}) {
        for (const char* size : {"140", "0.5", "1027.25"}) {
            const auto comparison = compare(profile, gigabytes(size)).value();
            for (const auto& prediction : comparison.placements.front().methods) {
                double sum = 0;
                for (std::size_t i = 0; i < prediction.path.size(); ++i) {
                    sum += prediction.path[i].seconds;
                    if (i > 0) {
                        EXPECT_EQ(prediction.path[i].from, prediction.path[i - 1].to);
                    }
                    EXPECT_EQ(prediction.path[i].bytes, prediction.method.id == "cuda_ipc" ? 0 : comparison.model.bytes);
                }
                EXPECT_NEAR(sum, prediction.seconds, 1e-9) << profile.name << " " << prediction.method.id;
            }
        }
    }
    const auto comparison = compare(tutorial_profile(), default_model_size()).value();
    const auto& disk = method_of(comparison, "disk_ssd").path;
    ASSERT_EQ(disk.size(), 4u);
    EXPECT_EQ(disk[0].from, "GPU memory");
    EXPECT_EQ(disk[1].from, "CPU memory");
    EXPECT_EQ(disk[2].from, "disk");
    EXPECT_EQ(disk[3].from, "CPU memory");
    EXPECT_EQ(disk[3].to, "GPU memory");
    ASSERT_EQ(method_of(comparison, "nccl_ib").path.size(), 2u);
    EXPECT_EQ(method_of(comparison, "nccl_ib").path[0].to, "network");
    ASSERT_EQ(method_of(comparison, "cuda_ipc").path.size(), 1u);
    EXPECT_EQ(method_of(comparison, "cuda_ipc").path[0].to, "same memory");
}

TEST(Compare, HasTheStagedExample) {
    const auto comparison = compare(tutorial_stages_profile(), default_model_size()).value();
    using Stages = std::vector<std::pair<std::string, double>>;
    const auto near = [](const Stages& stages, const Stages& expected) {
        ASSERT_EQ(stages.size(), expected.size());
        for (std::size_t i = 0; i < stages.size(); ++i) {
            EXPECT_EQ(stages[i].first, expected[i].first);
            EXPECT_NEAR(stages[i].second, expected[i].second, 1e-9);
        }
    };
    near(method_of(comparison, "disk").stages, {{"write", 28.0}, {"read", 28.0}});
    near(method_of(comparison, "nccl").stages, {{"gather", 2.1}, {"transfer", 5.6}, {"broadcast", 2.1}});
    near(method_of(comparison, "cuda_ipc").stages, {{"get_handle", 0.001}, {"serialize", 0.001}, {"reconstruct", 0.001}});
    EXPECT_NEAR(method_of(comparison, "disk").seconds, 56.0, 1e-9);
    EXPECT_NEAR(method_of(comparison, "nccl").seconds, 9.8, 1e-9);
    EXPECT_NEAR(method_of(comparison, "cuda_ipc").seconds, 0.003, 1e-9);
    EXPECT_EQ(percent_text(*method_of(comparison, "nccl").percent_of_disk), "17.5 %");
    EXPECT_EQ(percent_text(*method_of(comparison, "cuda_ipc").percent_of_disk), "0.005 %");
    // Disk and network go with the size, the handle's three steps do not.
    const auto half = compare(tutorial_stages_profile(), gigabytes("0.5")).value();
    near(method_of(half, "disk").stages, {{"write", 0.1}, {"read", 0.1}});
    near(method_of(half, "nccl").stages, {{"gather", 0.0075}, {"transfer", 0.02}, {"broadcast", 0.0075}});
    near(method_of(half, "cuda_ipc").stages, {{"get_handle", 0.001}, {"serialize", 0.001}, {"reconstruct", 0.001}});
}

TEST(Compare, ShowsTimesByTheTutorialsRule) {
    EXPECT_EQ(duration_text(0.001), "1.0 ms");
    EXPECT_EQ(duration_text(0.0999), "99.9 ms");
    EXPECT_EQ(duration_text(0.1), "0.10 s");
    EXPECT_EQ(duration_text(59.99), "59.99 s");
    EXPECT_EQ(duration_text(60), "1.0 min");
    EXPECT_EQ(duration_text(700.5), "11.7 min");
}

TEST(Compare, JudgesByTheTutorialsBounds) {
    const auto profile = tutorial_profile();
    const Method disk = profile.find("disk_ssd").value();
    EXPECT_EQ(verdict_of(disk, 0.999), "Excellent");
    EXPECT_EQ(verdict_of(disk, 1), "Good");
    EXPECT_EQ(verdict_of(disk, 9.999), "Good");
    EXPECT_EQ(verdict_of(disk, 10), "Acceptable");
    EXPECT_EQ(verdict_of(disk, 59.999), "Acceptable");
    EXPECT_EQ(verdict_of(disk, 60), "Slow");
    EXPECT_EQ(verdict_of(profile.find("cuda_ipc").value(), 100), "Zero copy!");
}

TEST(Compare, CanBeNarrowed) {
    const auto comparison =
        compare(tutorial_profile(), default_model_size(), {{Architecture::disaggregated_cross_node}, {"cuda_ipc", "nccl_ib"}}).value();
    ASSERT_EQ(comparison.placements.size(), 1u);
    EXPECT_THAT(ids_of(comparison.placements[0], true), ElementsAre("nccl_ib"));
    EXPECT_THAT(ids_of(comparison.placements[0], false), ElementsAre("cuda_ipc"));
    EXPECT_NEAR(comparison.placements[0].methods[0].percent_of_disk.value(), 100 * 2.85 / 20.1, 1e-9);
}

TEST(Compare, ListsWhatThereIsWhenANameIsUnknown) {
    EXPECT_THAT(compare(tutorial_profile(), default_model_size(), {{}, {"warp"}}),
                HasError(Code::invalid_argument, "disk_ssd, disk_hdd, nccl_nvlink, nccl_ib, nccl_ethernet, cuda_ipc"));
    EXPECT_THAT(architecture_from_name("moon"), HasError(Code::invalid_argument, "co-located, disaggregated-same-node, disaggregated-cross-node"));
    EXPECT_THAT(profile_from_name("h100"), HasError(Code::not_found, "tutorial, tutorial-stages"));
}

TEST(CompareDocument, HasTheSchemasKeysInOrderAndExactSeconds) {
    const auto document = nlohmann::ordered_json::parse(json_of(compare(tutorial_profile(), default_model_size()).value()));
    std::vector<std::string> keys;
    for (const auto& [key, value] : document.items()) keys.push_back(key);
    EXPECT_THAT(keys, ElementsAre("schema", "profile", "model", "placements"));
    EXPECT_EQ(document["schema"], "wsync.compare/1");
    EXPECT_EQ(document["profile"], "tutorial");
    EXPECT_EQ(document["model"]["bytes"], 140'000'000'000u);
    const auto& ipc = document["placements"][0]["methods"][5];
    keys.clear();
    for (const auto& [key, value] : ipc.items()) keys.push_back(key);
    EXPECT_THAT(keys, ElementsAre("id", "name", "description", "gigabytes_per_second", "setup_ms", "works_across_nodes", "works_same_gpu", "link", "seconds",
                                  "verdict", "percent_of_disk", "feasible", "reason", "stages", "path"));
    EXPECT_TRUE(ipc["gigabytes_per_second"].is_null());
    EXPECT_EQ(ipc["setup_ms"], 1.0);
    EXPECT_EQ(ipc["seconds"].get<double>(), 0.001);
    EXPECT_TRUE(ipc["stages"].is_object());
    EXPECT_TRUE(ipc["stages"].empty());
    EXPECT_EQ(document["placements"][2]["methods"][5]["feasible"], false);
    EXPECT_TRUE(document["placements"][2]["methods"][5]["reason"].is_string());
}

}  // namespace
}  // namespace wsync
