// What a sync's report looks like from outside: JSON 1, trace events, metrics text.
#include "golden_file.hpp"
#include "wsync/report/metrics_text.hpp"
#include "wsync/report/sync_json.hpp"
#include "wsync/report/trace.hpp"

namespace wsync {
namespace {

using testing::expect_golden_text;

SyncReport example() {
    SyncReport report;
    report.name = "policy";
    report.version = "policy@1.4+89abcdef";
    report.step = 17;
    report.method = "shm_copy";
    report.transport = "shm";
    report.first = true;
    report.stages[Stage::prepare] = 0.125;
    report.stages[Stage::signal] = 0.0078125;
    report.stages[Stage::move] = 0.25;
    report.stages[Stage::verify] = 0.5;
    report.stages[Stage::activate] = 0.0009765625;
    report.bytes_needed = 90'868'376;
    report.bytes_moved = 90'000'000;
    report.blocks_reused = 2;
    report.peak_extra_bytes = {{"receiver_slab", 90'868'736}, {"trainer", 4096}};
    report.verification = Verification::content;
    report.blocks_verified = 105;
    report.trainer_blocked_seconds = 0.015625;
    report.engine_stalled_seconds = 0.0009765625;
    report.notes = {"epoch 3 follows epoch 2 with a lower step"};
    report.configuration = {{"threads", "2"}, {"use", "copy"}};
    return report;
}

TEST(SyncReportGolden, json) { expect_golden_text("report/sync.json", to_json(example()) + "\n"); }

TEST(SyncReportGolden, trace) {
    const auto report = example();
    const TracedSync syncs[] = {{&report, "receiver 1", 0.5}};
    expect_golden_text("report/trace.json", to_chrome_trace(syncs) + "\n");
}

TEST(SyncReportGolden, metrics) { expect_golden_text("report/metrics.txt", to_metrics_text(example())); }

}  // namespace
}  // namespace wsync
