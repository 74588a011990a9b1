#include "interrupt.hpp"
#include "measure/fault_demo.hpp"
#include "measure/model_choice.hpp"
#include "method_table.hpp"
#include "terminal.hpp"
#include "verb.hpp"
#include "wsync/report/units.hpp"

#include <cstdio>
#include <fmt/format.h>

namespace wsync::tool {
namespace {

struct Arguments {
    std::vector<std::string> models;
    unsigned receivers = 2;
    int runs = 5;
    std::string directory = ".", output = "wsync-demo.json";
    bool json = false;
};

// "F32", or "BF16, F32" where a model has several.
std::string dtypes_of(const Manifest& manifest) {
    std::string text;
    for (const auto& tensor : manifest.tensors()) {
        const std::string name(name_of(tensor.dtype));
        if (text.find(name) == std::string::npos) text += (text.empty() ? "" : "/") + name;
    }
    return text;
}

Status show_model(const Arguments& arguments, const ModelChoice& model, Json& document) {
    if (!arguments.json) {
        fmt::print("\n{}\n\n", bold(fmt::format("{} · {}, {} tensors, {} {} · trainer 1 process, receivers {}", model.name,
                                                model.checkpoint.empty() ? "its real tensor list, values drawn as trained weights are distributed" : "real checkpoint",
                                                model.manifest.size(), show_bytes(model.manifest.bytes()), dtypes_of(model.manifest), arguments.receivers)));
        std::fflush(stdout);
    }
    BenchOptions options;
    options.model = model.name;
    options.checkpoint = model.checkpoint;
    WSYNC_TRY(options.source, Layout::replicated(model.manifest, 1));
    options.receivers = arguments.receivers;
    options.threads = 1;
    options.runs = arguments.runs;
    options.directory = arguments.directory;
    options.max_probe_bytes = 256 << 20;
    options.interrupted = &interrupt_flag();
    ProgressLine progress;
    options.progress = [&](double fraction, std::string_view what) { progress.show(fraction, what); };
    WSYNC_TRY(auto result, run_bench(options));
    progress.clear();
    document["tables"].push_back(to_json(result));
    if (!arguments.json) {
        fmt::print("{}   steady sync, median of {} [min .. max]\n{}\n{}\n{}", bold("MEASURED HERE"), arguments.runs, method_table(result), "where the time goes",
                   stage_table(result));
        std::fflush(stdout);
    }
    return {};
}

Status show_faults(const Arguments& arguments, const ModelChoice& model, Json& document) {
    if (!arguments.json) fmt::print("\n{}\n", bold("NOW WE BREAK IT"));
    std::fflush(stdout);
    FaultDemoOptions options;
    WSYNC_TRY(options.source, Layout::replicated(model.manifest, 1));
    options.checkpoint = model.checkpoint;
    options.interrupted = &interrupt_flag();
    ProgressLine progress;
    options.progress = [&](double fraction, std::string_view what) { progress.show(fraction, what); };
    WSYNC_TRY(auto outcomes, run_fault_demo(options));
    progress.clear();
    int silent = 0;
    for (const auto& outcome : outcomes) {
        silent += outcome.silent ? 1 : 0;
        document["faults"].push_back({{"what", outcome.what}, {"outcome", outcome.outcome}, {"silent", outcome.silent}, {"seconds", outcome.seconds}});
        if (!arguments.json) fmt::print("{:<36} {}\n", outcome.what, outcome.silent ? red(outcome.outcome) : outcome.outcome);
    }
    if (!arguments.json) fmt::print("{}", fmt::format("{} faults, {} silent.", outcomes.size(), silent));
    if (silent > 0) return Error{Code::internal, fmt::format("{} of {} faults were not handled as they must be", silent, outcomes.size()), {}};
    return {};
}

Status run_demo(const Arguments& arguments) {
    std::vector<ModelChoice> models;
    for (const auto& text : arguments.models.empty() ? std::vector<std::string>{"qwen2.5-0.5b"} : arguments.models) {
        WSYNC_TRY(auto model, choose_model(text));
        models.push_back(std::move(model));
    }
    Json document{{"schema", "wsync.demo/1"}, {"machine", describe_machine()}, {"tables", Json::array()}, {"faults", Json::array()}};
    for (const auto& model : models) WSYNC_TRY_VOID(show_model(arguments, model, document));
    auto faults = show_faults(arguments, models.front(), document);
    WSYNC_TRY_VOID(write_document(arguments.output, document));
    if (arguments.json) fmt::print("{}\n", document.dump(2));
    WSYNC_TRY_VOID(std::move(faults));
    if (!arguments.json) fmt::print("   Result: {} · next: wsync bench, wsync tutorial, wsync publish --help\n", arguments.output);
    return {};
}

}  // namespace

void add_demo(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("-m,--model", arguments->models, "catalogue id, checkpoint or size; several: a table each (default: qwen2.5-0.5b)");
    command.add_option("--receivers", arguments->receivers, "receiver processes")->check(CLI::Range(1, 16))->capture_default_str();
    command.add_option("--runs", arguments->runs, "steady rounds")->check(CLI::Range(1, 100))->capture_default_str();
    command.add_option("--dir", arguments->directory, "where the disk method writes")->capture_default_str();
    command.add_option("-o,--output", arguments->output, "the JSON result")->capture_default_str();
    command.add_flag("--json", arguments->json, "print the document wsync.demo/1 instead of tables");
    command.callback([arguments, &run] { run = [arguments] { return run_demo(*arguments); }; });
}

}  // namespace wsync::tool
