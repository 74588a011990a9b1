#include "wsync/predict/tutorial.hpp"

#include "interrupt.hpp"
#include "measure/live_figures.hpp"
#include "model_argument.hpp"
#include "terminal.hpp"
#include "verb.hpp"

#include <cstdio>
#include <unistd.h>

namespace wsync::tool {

namespace {

constexpr const char* kFoundHere = "wsync-bench.json";

struct Arguments {
    ModelArgument model;
    std::string measured;
    CLI::Option* measured_option = nullptr;
    bool no_measure = false, json = false;
};

Result<MeasuredFigures> measure_now() {
    LiveOptions options;
    if (::access(options.directory.c_str(), W_OK) != 0) options.directory.clear();
    options.interrupted = &interrupt_flag();
    ProgressLine progress;
    options.progress = [&](double fraction, std::string_view what) { progress.show(fraction, what); };
    return measure_live(options).within("measuring for the third column; --no-measure leaves it empty");
}

Status tutorial_verb(const Arguments& arguments) {
    WSYNC_TRY(const ModelSize size, arguments.model.size());
    std::optional<MeasuredFigures> figures;
    if (arguments.measured_option->count() > 0) {
        if (arguments.no_measure) return Error{Code::invalid_argument, "--measured FILE shows measurements, --no-measure shows none: give one of them", {}};
        WSYNC_TRY(figures, load_measured(arguments.measured));
    } else if (!arguments.no_measure && ::access(kFoundHere, R_OK) == 0) {
        WSYNC_TRY(figures, load_measured(kFoundHere));
    } else if (!arguments.no_measure) {
        WSYNC_TRY(figures, measure_now());
    }
    WSYNC_TRY(const Tutorial walk, make_tutorial(size, figures ? &*figures : nullptr));
    std::fputs((arguments.json ? json_of(walk) : text_of(walk)).c_str(), stdout);
    return {};
}

}  // namespace

void add_tutorial(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    arguments->model.add_to(command, true);
    arguments->measured_option =
        command.add_option("--measured", arguments->measured, "what `wsync bench --json` wrote (./wsync-bench.json if it is there), instead of a short live run")
            ->type_name("FILE");
    command.add_flag("--no-measure", arguments->no_measure, "no live run, no file: the third column says how to fill it");
    command.add_flag("--json", arguments->json, "print wsync.tutorial/1 (docs/json.md)");
    command.callback([arguments, &run] { run = [arguments] { return tutorial_verb(*arguments); }; });
}

}  // namespace wsync::tool
