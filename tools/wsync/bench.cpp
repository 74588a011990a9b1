#include "interrupt.hpp"
#include "measure/model_choice.hpp"
#include "method_table.hpp"
#include "terminal.hpp"
#include "verb.hpp"
#include "wsync/model/mesh.hpp"
#include "wsync/report/units.hpp"

#include <cstdio>
#include <fmt/format.h>

namespace wsync::tool {
namespace {

struct Arguments {
    std::string what;
    std::string model = "qwen2.5-0.5b";
    std::vector<std::string> methods;  // none: all that these trainers have
    std::vector<std::string> limits;   // none: all
    unsigned receivers = 1, trainers = 1, threads = 2;
    int runs = 7;
    std::string directory = ".";
    bool json = false, small_pages = false;
    std::string output, kernels;
};

Status run_limits(const Arguments& arguments) {
    ProgressLine progress;
    LimitOptions options;
    options.directory = arguments.directory;
    options.rounds = arguments.runs;
    if (!arguments.limits.empty()) options.which.clear();
    for (const auto& name : arguments.limits) options.which.push_back(*limit_kind_of(name));  // one of those that the option admits
    int lines = 0;
    const auto all = static_cast<double>(options.rounds) * static_cast<double>(options.which.size());
    options.progress = [&](std::string_view line) { progress.show(std::min(0.99, ++lines / all), line); };
    WSYNC_TRY(auto limits, measure_limits(options));
    progress.clear();
    if (arguments.json) {
        const Json document{{"schema", "wsync.limits/1"}, {"machine", describe_machine()}, {"limits", to_json(limits)}};
        fmt::print("{}\n", document.dump(2));
    } else {
        fmt::print("{}\n{}", describe_machine(), limit_table(limits));
    }
    return {};
}

void print(const BenchResult& result) {
    fmt::print("{}\n{} · {} tensors, {} · trainer {} process{}, receivers {}, {} thread{} each\n", bold(result.machine), result.model, result.tensors,
               show_bytes(result.bytes), result.trainers, result.trainers == 1 ? "" : "es", result.receivers, result.threads, result.threads == 1 ? "" : "s");
    if (!result.disk_filesystem.empty()) fmt::print("disk: {} on {}, {}\n", result.disk_filesystem, result.disk_device, result.disk_engine);
    fmt::print("\n{}\n{}\n{}\n{}\n{}", bold("limits, the same rounds"), limit_table(result.limits), bold("methods, steady"), method_table(result), stage_table(result));
    if (const auto parts = part_table(result); !parts.empty()) fmt::print("\n{}\n{}", bold("in parts, each beside its own limit"), parts);
    fmt::print("\n{}\n", bold("first sync"));
    for (const auto& method : result.methods) fmt::print("{:10}{:>10}\n", method.id, show_seconds(method.first.total()));
}

Status run_bench_verb(const Arguments& arguments) {
    if (arguments.what == "limits") return run_limits(arguments);
    if (!arguments.what.empty()) return Error{Code::invalid_argument, fmt::format("no bench of \"{}\"; there is: limits", arguments.what), {}};
    WSYNC_TRY(auto model, choose_model(arguments.model));
    BenchOptions options;
    options.model = model.name;
    options.checkpoint = model.checkpoint;
    if (arguments.trainers > 1) {
        if (!model.checkpoint.empty()) return Error{Code::invalid_argument, "a checkpoint is benched with one trainer: --trainers needs drawn weights", {}};
        MeshOptions mesh;
        mesh.fully_sharded = arguments.trainers;
        WSYNC_TRY(options.source, make_mesh_layout(model.manifest, mesh));
    } else {
        WSYNC_TRY(options.source, Layout::replicated(model.manifest, 1));
    }
    if (!arguments.methods.empty()) {
        options.methods = arguments.methods;
    } else if (arguments.trainers > 1) {
        std::erase(options.methods, "shm_map");  // whole tensors do not lie in one trainer's slab
    }
    options.receivers = arguments.receivers;
    options.threads = arguments.threads;
    options.runs = arguments.runs;
    options.directory = arguments.directory;
    options.kernels = arguments.kernels;
    options.huge_pages = !arguments.small_pages;
    options.interrupted = &interrupt_flag();
    ProgressLine progress;
    options.progress = [&](double fraction, std::string_view what) { progress.show(fraction, what); };
    WSYNC_TRY(auto result, run_bench(options));
    progress.clear();
    if (!arguments.output.empty()) WSYNC_TRY_VOID(write_document(arguments.output, to_json(result)));
    if (arguments.json) {
        fmt::print("{}\n", to_json(result).dump(2));
    } else {
        print(result);
    }
    return {};
}

}  // namespace

void add_bench(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("what", arguments->what, "nothing, or: limits");
    command.add_option("-m,--model", arguments->model, "catalogue id, checkpoint, size (0.5GB) or 20000x48KiB")->capture_default_str();
    command.add_option("--methods", arguments->methods, "of shm_map, shm_copy, tcp, disk; default: all, with several trainers all but shm_map")->delimiter(',');
    command.add_option("--limits", arguments->limits, "with limits: of M, M2, D2, T, W, W2, R, P; default: all")
        ->delimiter(',')
        ->check(CLI::IsMember({"M", "M2", "D2", "T", "W", "W2", "R", "P"}));
    command.add_option("--receivers", arguments->receivers, "receiver processes")->check(CLI::Range(1, 64))->capture_default_str();
    command.add_option("--trainers", arguments->trainers, "trainer processes, weights sharded over them (FSDP)")->check(CLI::Range(1, 64))->capture_default_str();
    command.add_option("--threads", arguments->threads, "of each process")->check(CLI::Range(1, 64))->capture_default_str();
    command.add_option("--runs", arguments->runs, "steady rounds")->check(CLI::Range(1, 1000))->capture_default_str();
    command.add_option("--dir", arguments->directory, "where disk methods write")->capture_default_str();
    command.add_option("-o,--output", arguments->output, "also write the JSON document to this file");
    command.add_option("--kernels", arguments->kernels, "the copy to use; without it a probe chooses");
    command.add_flag("--small-pages", arguments->small_pages, "4 KiB pages instead of 2 MiB ones");
    command.add_flag("--json", arguments->json, "print the document wsync.bench/1");
    command.callback([arguments, &run] { run = [arguments] { return run_bench_verb(*arguments); }; });
}

}  // namespace wsync::tool
