// Each text and figure for the tutorial's size and two others, byte for byte.
//
// On a difference the new text is left in the test's directory (NAME.new): look at it, and copy it over if it is right.
#include "wsync/predict/compare.hpp"
#include "wsync/predict/timeline.hpp"
#include "wsync/predict/tutorial.hpp"

#include "result_matchers.hpp"

#include <nlohmann/json.hpp>

#include <fstream>
#include <sstream>

namespace wsync {
namespace {

const std::string kDirectory = WSYNC_SOURCE_DIR "/tests/golden/predict/";

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

void expect_golden(const std::string& name, const std::string& text) {
    const std::string golden = contents(kDirectory + name);
    if (golden == text) return;
    std::ofstream(name + ".new", std::ios::binary) << text;
    std::istringstream was(golden), is(text);
    std::string a, b;
    for (unsigned line = 1;; ++line) {
        a.clear();
        b.clear();
        const bool more_was = static_cast<bool>(std::getline(was, a));
        const bool more_is = static_cast<bool>(std::getline(is, b));
        if (!more_was && !more_is) break;
        if (more_was == more_is && a == b) continue;
        ADD_FAILURE() << name << ":" << line << "\n  golden: " << a << "\n  now:    " << b << "\n  the whole new text: " << name << ".new";
        return;
    }
    ADD_FAILURE() << name << " differs in its line ends or length";
}

MeasuredFigures bench() { return measured_from_bench(contents(kDirectory + "bench.json"), "wsync-bench.json").value(); }

class PredictGolden : public ::testing::TestWithParam<const char*> {
protected:
    ModelSize model() const { return model_size_from_gigabytes(GetParam()).value(); }
    std::string named(const std::string& stem, const std::string& extension) const { return stem + "-" + GetParam() + extension; }
};

TEST_P(PredictGolden, CompareTutorial) {
    const auto comparison = compare(tutorial_profile(), model()).value();
    expect_golden(named("compare-tutorial", ".txt"), text_of(comparison));
    expect_golden(named("compare-tutorial", ".json"), json_of(comparison));
}

TEST_P(PredictGolden, CompareStages) {
    const auto comparison = compare(tutorial_stages_profile(), model()).value();
    expect_golden(named("compare-stages", ".txt"), text_of(comparison));
    expect_golden(named("compare-stages", ".json"), json_of(comparison));
}

TEST_P(PredictGolden, CompareMeasured) {
    const auto comparison = compare(measured_profile(bench()).value(), model()).value();
    expect_golden(named("compare-measured", ".txt"), text_of(comparison));
    expect_golden(named("compare-measured", ".json"), json_of(comparison));
}

TEST_P(PredictGolden, Timelines) {
    const std::pair<const char*, Profile> profiles[] = {
        {"tutorial", tutorial_profile()}, {"stages", tutorial_stages_profile()}, {"measured", measured_profile(bench()).value()}};
    for (const auto& [name, profile] : profiles) {
        std::string text;
        std::vector<Timeline> lines;
        for (const auto& method : profile.methods) {
            lines.push_back(timeline(profile, model(), method.id).value());
            text += text_of(lines.back()) + "\n";
        }
        expect_golden(named(std::string("timeline-") + name, ".txt"), text);
        expect_golden(named(std::string("timeline-") + name, ".json"), json_of(lines));
    }
}

TEST_P(PredictGolden, TutorialUnmeasured) {
    const auto walk = make_tutorial(model(), nullptr).value();
    expect_golden(named("tutorial", ".txt"), text_of(walk));
    expect_golden(named("tutorial", ".json"), json_of(walk));
}

TEST_P(PredictGolden, TutorialMeasured) {
    const auto figures = bench();
    const auto walk = make_tutorial(model(), &figures).value();
    expect_golden(named("tutorial-measured", ".txt"), text_of(walk));
    expect_golden(named("tutorial-measured", ".json"), json_of(walk));
}

// As a live run fills it: the bench's figures, a handle's and a gather's.
TEST_P(PredictGolden, TutorialLive) {
    auto figures = bench();
    figures.source = "a short live run, 100 MB, 3 rounds";
    figures.handle = MeasuredHandle{.bytes = 168, .opens_bytes = 100'000'000, .moved_bytes = 0, .open_seconds = 0.00025};
    figures.gather = MeasuredGather{.ranks = 4, .model_bytes = 100'000'000, .received_bytes = 75'000'000, .seconds = 0.025, .shard_bytes = 25'000'000,
                                    .extra_bytes = 100'000'000, .handle_bytes = 676, .gathered_seconds = 0.05, .direct_seconds = 0.0125};
    const auto walk = make_tutorial(model(), &figures).value();
    expect_golden(named("tutorial-live", ".txt"), text_of(walk));
    expect_golden(named("tutorial-live", ".json"), json_of(walk));
}

INSTANTIATE_TEST_SUITE_P(Sizes, PredictGolden, ::testing::Values("140", "0.5", "1027.25"),
                         [](const auto& info) { return std::string(info.param) == "0.5" ? "Half" : std::string(info.param) == "140" ? "The140" : "The1027"; });

TEST(PredictGoldenProfiles, Methods) {
    expect_golden("methods-tutorial.txt", text_of(tutorial_profile()));
    expect_golden("methods-stages.txt", text_of(tutorial_stages_profile()));
    expect_golden("methods-measured.txt", text_of(measured_profile(bench()).value()));
}

}  // namespace
}  // namespace wsync
