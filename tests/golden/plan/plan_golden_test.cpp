// The steps and the digest of a fixed plan. A change here is a change of what plans are: other versions would disagree.
#include "result_matchers.hpp"
#include "wsync/plan/plan.hpp"

#include <fmt/format.h>
#include <fstream>
#include <iterator>

namespace wsync {
namespace {

// A trainer of two ranks that cut rows (and replicate the norm), an engine of two ranks that cut columns of a padded,
// fused tensor.
std::string printed() {
    const Manifest from = Manifest::make({{"gate", DType::bf16, {6, 8}}, {"up", DType::bf16, {6, 8}}, {"norm", DType::f32, {8}}, {"four", DType::f4, {4, 8}}}).value();
    const Manifest to = Manifest::make({{"norm", DType::f32, {8}}, {"gate_up", DType::bf16, {16, 8}}, {"four", DType::f4, {4, 8}}}).value();
    const Layout source = Layout::make(from, 2,
                                       {{0, 0, {{0, 0}, {3, 8}}}, {1, 0, {{3, 0}, {3, 8}}}, {0, 1, {{0, 0}, {4, 8}}}, {1, 1, {{4, 0}, {2, 8}}},
                                        {0, 2, {{0}, {8}}}, {1, 2, {{0}, {8}}}, {0, 3, {{0, 0}, {1, 8}}}, {1, 3, {{1, 0}, {3, 8}}}},
                                       Coverage::full)
                              .value();
    const Layout sink = Layout::make(to, 2,
                                     {{0, 0, {{0}, {8}}}, {1, 0, {{0}, {8}}}, {0, 1, {{0, 0}, {16, 4}}}, {1, 1, {{0, 4}, {16, 4}}},
                                      {0, 2, {{0, 0}, {4, 4}}}, {1, 2, {{0, 4}, {4, 4}}}},
                                     Coverage::partial)
                            .value();
    const Mapping mapping{{
        {"norm", {{0}, {8}}, "norm", {{0}, {8}}, {}},
        {"gate_up", {{0, 0}, {6, 8}}, "gate", {{0, 0}, {6, 8}}, {}},
        {"gate_up", {{6, 0}, {2, 8}}, "", {}, std::byte{0}},
        {"gate_up", {{8, 0}, {6, 8}}, "up", {{0, 0}, {6, 8}}, {}},
        {"gate_up", {{14, 0}, {2, 8}}, "", {}, std::byte{0xff}},
        {"four", {{0, 0}, {4, 8}}, "four", {{0, 0}, {4, 8}}, {}},
    }};
    const Plan plan = make_plan(source, sink, mapping, {.replica_seed = 1}).value();
    std::string text;
    for (const Copy& copy : plan.copies()) {
        const Shard &a = source.shards()[copy.source_shard], &b = sink.shards()[copy.sink_shard];
        text += fmt::format("copy rank {} {} {} -> rank {} {} {}\n", a.rank, from[a.tensor].name, copy.source_box.to_string(), b.rank, to[b.tensor].name,
                            copy.sink_box.to_string());
    }
    for (const Fill& fill : plan.fills()) {
        const Shard& b = sink.shards()[fill.sink_shard];
        text += fmt::format("fill {:#04x} -> rank {} {} {}\n", std::to_integer<int>(fill.value), b.rank, to[b.tensor].name, fill.sink_box.to_string());
    }
    return text + fmt::format("digest {}\n", plan.digest().hex()) + plan.summary(source, sink);
}

TEST(Golden, PlanOfAFixedExample) {
    std::ifstream file(WSYNC_SOURCE_DIR "/tests/golden/plan/plan.txt");
    ASSERT_TRUE(file.is_open());
    const std::string wanted{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(printed(), wanted);
}

}  // namespace
}  // namespace wsync
