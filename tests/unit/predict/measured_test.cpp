#include "wsync/predict/compare.hpp"
#include "wsync/predict/measured.hpp"
#include "wsync/predict/timeline.hpp"
#include "wsync/predict/tutorial.hpp"

#include "result_matchers.hpp"

#include <nlohmann/json.hpp>

#include <fstream>
#include <sstream>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string bench_text() {
    std::ifstream file(WSYNC_SOURCE_DIR "/tests/golden/predict/bench.json");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

nlohmann::json bench() { return nlohmann::json::parse(bench_text()); }

TEST(Measured, ReadsABenchDocument) {
    const auto figures = measured_from_bench(bench_text(), "here.json");
    ASSERT_OK(figures);
    ASSERT_EQ(figures->methods.size(), 4u);
    EXPECT_EQ(figures->find("tcp")->bytes, 1'000'000'000u);
    EXPECT_EQ(figures->find("tcp")->seconds, 0.2);
    EXPECT_NEAR(figures->find("tcp")->trainer_seconds.value(), 0.06, 1e-12);
    EXPECT_EQ(figures->find("shm_map")->bytes_moved, 72u);
    EXPECT_EQ(figures->limits.at("W"), 1.25e9);
    EXPECT_EQ(figures->find("nccl_ib"), nullptr);
}

TEST(Measured, MakesAThirdKindOfProfile) {
    const auto profile = measured_profile(measured_from_bench(bench_text(), "here.json").value()).value();
    EXPECT_EQ(profile.name, "here.json");
    EXPECT_EQ(profile.transfers_per_iteration, 1u);
    const auto comparison = compare(profile, model_size_from_gigabytes("140").value()).value();
    const auto& methods = comparison.placements[0].methods;
    ASSERT_EQ(methods.size(), 4u);
    EXPECT_EQ(methods[0].method.id, "shm_map");
    EXPECT_NEAR(methods[0].seconds, 0.00004, 1e-12);  // a handle costs the same for any size
    EXPECT_NEAR(methods[1].seconds, 14.0, 1e-9);
    EXPECT_NEAR(methods[2].seconds, 28.0, 1e-9);
    EXPECT_NEAR(methods[3].seconds, 175.0, 1e-9);
    EXPECT_NEAR(methods[2].percent_of_disk.value(), 16.0, 1e-9);
    EXPECT_NEAR(methods[3].path[0].seconds, 133.0, 1e-9);  // written, then read: timed apart
    EXPECT_NEAR(methods[3].path[1].seconds, 42.0, 1e-9);
    EXPECT_EQ(methods[0].path[0].bytes, 0u);
    std::vector<std::string> across;
    for (const auto& prediction : comparison.placements[2].methods) {
        if (prediction.feasible) across.push_back(prediction.method.id);
    }
    EXPECT_THAT(across, ElementsAre("tcp", "disk"));
    const auto lines = timelines(profile, model_size_from_gigabytes("140").value()).value();
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[1].method, "tcp");
    EXPECT_NEAR(lines[1].iteration_seconds, 78.0, 1e-9);
    EXPECT_THAT(text_of(lines[1]), HasSubstr("not weights"));
}

// A document with the fields that every version has, and no more.
TEST(Measured, TakesTheRateWhereTheHandOverIsNotApart) {
    auto document = bench();
    for (auto& method : document["methods"]) method["steady"].erase("hand_over_seconds");
    const auto figures = measured_from_bench(document.dump(), "here.json").value();
    EXPECT_NEAR(figures.find("shm_map")->seconds, 0.06004, 1e-12);  // no rate: all stages
    EXPECT_NEAR(figures.find("tcp")->seconds, 0.2, 1e-12);
    EXPECT_NEAR(figures.find("disk")->seconds, 1.31, 1e-12);
    const auto comparison = compare(measured_profile(figures).value(), model_size_from_gigabytes("1").value()).value();
    const auto& disk = comparison.placements[0].methods[3];
    EXPECT_NEAR(disk.path[0].seconds, 1.31 * 0.75, 1e-9);  // W is a third of R
    EXPECT_NEAR(disk.path[1].seconds, 1.31 * 0.25, 1e-9);
}

TEST(Measured, CountsReceivers) {
    auto document = bench();
    document["methods"][2]["receivers"] = 4;
    document["methods"][2]["bytes_per_second"] = 2e10;
    document["methods"][2]["steady"].erase("hand_over_seconds");
    const auto figures = measured_from_bench(document.dump(), "here.json").value();
    EXPECT_NEAR(figures.find("tcp")->seconds, 0.2, 1e-12);
    EXPECT_THAT(measured_profile(figures).value().find("tcp").value().description, HasSubstr("4 receivers"));
}

TEST(Measured, FallsBackOnTheMachinesLimits) {
    auto document = bench();
    document["methods"] = nlohmann::json::array();
    const auto profile = measured_profile(measured_from_bench(document.dump(), "limits.json").value()).value();
    const auto comparison = compare(profile, model_size_from_gigabytes("12.5").value()).value();
    const auto& methods = comparison.placements[0].methods;
    ASSERT_EQ(methods.size(), 3u);
    EXPECT_NEAR(methods[0].seconds, 1.0, 1e-9);               // shm_copy: M
    EXPECT_NEAR(methods[1].seconds, 2.0, 1e-9);               // tcp: T
    EXPECT_NEAR(methods[2].seconds, 10.0 + 10.0 / 3, 1e-9);   // disk: W, then R
    document["limits"] = nlohmann::json::object();
    EXPECT_THAT(measured_profile(measured_from_bench(document.dump(), "empty.json").value()), HasError(Code::invalid_argument, "empty.json"));
}

TEST(Measured, ReadsAnUnknownMinorAndRefusesAnUnknownMajor) {
    auto document = bench();
    document["schema"] = "wsync.bench/1.7";
    document["something new"] = {1, 2, 3};
    EXPECT_OK(measured_from_bench(document.dump(), "new.json"));
    document["schema"] = "wsync.bench/2";
    EXPECT_THAT(measured_from_bench(document.dump(), "new.json"), HasError(Code::unsupported, "wsync.bench/2"));
    document["schema"] = "wsync.compare/1";
    EXPECT_THAT(measured_from_bench(document.dump(), "new.json"), HasError(Code::unsupported, "wsync.bench/1"));
    document["schema"] = "wsync.bench/11";
    EXPECT_THAT(measured_from_bench(document.dump(), "new.json"), HasCode(Code::unsupported));
    document.erase("schema");
    EXPECT_THAT(measured_from_bench(document.dump(), "new.json"), HasCode(Code::corrupt));
}

TEST(Measured, RefusesWhatCanNotBeAFigureAndSaysWhere) {
    const std::pair<const char*, const char*> cases[] = {
        {"/methods/2/bytes", "0"},      {"/methods/2/bytes", "-1"},      {"/methods/2/bytes", "\"many\""}, {"/methods/2/bytes", "1e300"},
        {"/methods/2/steady/seconds/median", "0"},                       {"/methods/2/steady/seconds/median", "-2"},
        {"/methods/2/steady/seconds/median", "\"1\""},                   {"/methods/3/steady/stages/expose", "-1"},
        {"/methods/2/steady/hand_over_seconds/median", "0"},             {"/methods/2/receivers", "-2"},
        {"/methods/2/id", "7"},         {"/methods", "{}"},              {"/limits", "[]"},                {"/limits/T/bytes_per_second", "0"},
        {"/methods/2/steady", "null"},  {"/methods/2/steady/seconds", "null"},                             {"/methods/2", "3"},
    };
    for (const auto& [where, value] : cases) {
        auto document = bench();
        document[nlohmann::json::json_pointer(where)] = nlohmann::json::parse(value);
        EXPECT_THAT(measured_from_bench(document.dump(), "bad.json"), HasError(Code::corrupt, "bad.json")) << where << " = " << value;
    }
}

TEST(Measured, RefusesWhatIsNoDocument) {
    for (const std::string text : {"", "{", "[]", "null", "7", "{\"schema\":\"wsync.bench/1\",\"schema\":\"wsync.bench/1\"}", "\xff\xfe", "{\"schema\":7}"})
        EXPECT_THAT(measured_from_bench(text, "bad.json"), HasError(Code::corrupt, "bad.json")) << text;
    const std::string deep = "{\"schema\":\"wsync.bench/1\",\"x\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
    EXPECT_THAT(measured_from_bench(deep, "deep.json"), HasCode(Code::corrupt));
    EXPECT_THAT(measured_from_bench(std::string((16u << 20) + 1, ' '), "large.json"), HasCode(Code::corrupt));
}

TEST(Tutorial, SaysHowToMeasureWhenNothingWas) {
    const std::string text = text_of(make_tutorial(default_model_size(), nullptr).value());
    EXPECT_THAT(text, HasSubstr("run wsync bench --json"));
    EXPECT_THAT(text, HasSubstr("shm_map stands in: no GPU"));
    EXPECT_THAT(text, HasSubstr("tcp stands in: no InfiniBand NIC"));
}

TEST(Tutorial, WalksInItsOwnOrder) {
    const auto figures = measured_from_bench(bench_text(), "here.json").value();
    const auto walk = make_tutorial(default_model_size(), &figures).value();
    std::vector<std::string> ids;
    for (const auto& section : walk.sections) ids.push_back(section.id);
    EXPECT_THAT(ids, ElementsAre("banner", "co-located", "disaggregated-same-node", "disaggregated-cross-node", "insight", "ipc", "verl", "timeline-cuda_ipc",
                                 "timeline-nccl_ib"));
    EXPECT_THAT(text_of(walk), Not(HasSubstr("run wsync bench --json")));
}

// For the tutorial's own size the first two columns must agree: what it says is what its formula gives.
TEST(Tutorial, SaysWhatItsFormulaGivesForItsOwnSize) {
    const auto walk = make_tutorial(default_model_size(), nullptr).value();
    int compared = 0;
    for (const auto& section : walk.sections) {
        for (const auto& table : section.tables) {
            for (const auto& figure : table.figures) {
                if (section.id == "verl" || figure.says == "not counted" || figure.label == "bytes of a handle" || figure.label == "time to open it") continue;
                std::string formula = figure.formula;
                if (section.id == "insight" && formula.find(", ") != std::string::npos) formula = formula.substr(formula.find(", ") + 2);
                if (figure.label == "generation" || figure.label == "training") formula = formula.substr(0, formula.find('.')) + " s";
                EXPECT_EQ(figure.says, formula) << section.id << ": " << figure.label;
                ++compared;
            }
        }
    }
    EXPECT_GT(compared, 40);
}

}  // namespace
}  // namespace wsync
