#include "wsync/predict/tutorial.hpp"

#include "model_argument.hpp"
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
    bool json = false;
};

Status tutorial_verb(const Arguments& arguments) {
    WSYNC_TRY(const ModelSize size, arguments.model.size());
    std::optional<MeasuredFigures> figures;
    if (arguments.measured_option->count() > 0) {
        WSYNC_TRY(figures, load_measured(arguments.measured));
    } else if (::access(kFoundHere, R_OK) == 0) {
        WSYNC_TRY(figures, load_measured(kFoundHere));
    }
    WSYNC_TRY(const Tutorial walk, make_tutorial(size, figures ? &*figures : nullptr));
    std::fputs((arguments.json ? json_of(walk) : text_of(walk)).c_str(), stdout);
    return {};
}

}  // namespace

void add_tutorial(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    arguments->model.add_to(command, true);
    arguments->measured_option = command.add_option("--measured", arguments->measured, "what `wsync bench --json` wrote (./wsync-bench.json if it is there)")
                                     ->type_name("FILE");
    command.add_flag("--json", arguments->json, "print wsync.tutorial/1 (docs/json.md)");
    command.callback([arguments, &run] { run = [arguments] { return tutorial_verb(*arguments); }; });
}

}  // namespace wsync::tool
