#include "wsync/predict/timeline.hpp"

#include "model_argument.hpp"
#include "verb.hpp"

#include <cstdio>

namespace wsync::tool {

namespace {

struct Arguments {
    ModelArgument model;
    std::string profile = "tutorial";
    std::string method, generation = "30", training = "20";
    CLI::Option* method_option = nullptr;
    bool json = false;
};

Status timeline_verb(const Arguments& arguments) {
    WSYNC_TRY(const ModelSize size, arguments.model.size());
    WSYNC_TRY(const Profile profile, load_profile(arguments.profile));
    TimelineOptions options;
    WSYNC_TRY(options.generation_seconds, seconds_from("--generation", arguments.generation));
    WSYNC_TRY(options.training_seconds, seconds_from("--training", arguments.training));
    if (arguments.method_option->count() > 0) {
        WSYNC_TRY(const Timeline line, timeline(profile, size, arguments.method, options));
        std::fputs((arguments.json ? json_of(line) : text_of(line)).c_str(), stdout);
        return {};
    }
    WSYNC_TRY(const auto lines, timelines(profile, size, options));
    std::string text;
    for (const auto& line : lines) text += (text.empty() ? "" : "\n") + text_of(line);
    std::fputs((arguments.json ? json_of(lines) : text).c_str(), stdout);
    return {};
}

}  // namespace

void add_timeline(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    arguments->model.add_to(command, true);
    arguments->method_option =
        command.add_option("--method", arguments->method, "a method of the profile (tutorial: cuda_ipc, and then nccl_ib)")->type_name("ID");
    command.add_option("--generation", arguments->generation, "seconds of generation")->type_name("S")->capture_default_str();
    command.add_option("--training", arguments->training, "seconds of training")->type_name("S")->capture_default_str();
    command.add_option("--profile", arguments->profile, "tutorial, tutorial-stages, or what `wsync bench --json` wrote")->type_name("P")->capture_default_str();
    command.add_flag("--json", arguments->json, "print wsync.timeline/1 (docs/json.md); without --method, an array of them");
    command.callback([arguments, &run] { run = [arguments] { return timeline_verb(*arguments); }; });
}

}  // namespace wsync::tool
