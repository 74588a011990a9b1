#include "wsync/predict/compare.hpp"

#include "model_argument.hpp"
#include "verb.hpp"

#include <cstdio>

namespace wsync::tool {

namespace {

struct Arguments {
    ModelArgument model;
    std::string profile = "tutorial";
    std::vector<std::string> placements;
    std::vector<std::string> methods;
    CLI::Option* methods_option = nullptr;
    bool json = false;
};

Status compare_verb(const Arguments& arguments) {
    WSYNC_TRY(const ModelSize size, arguments.model.size());
    WSYNC_TRY(const Profile profile, load_profile(arguments.profile));
    CompareOptions options;
    // The option without any id leaves one empty string behind.
    for (const auto& id : arguments.methods)
        if (!id.empty()) options.methods.push_back(id);
    for (const auto& name : arguments.placements) {
        WSYNC_TRY(const Architecture placement, architecture_from_name(name));
        options.placements.push_back(placement);
    }
    WSYNC_TRY(const Comparison comparison, compare(profile, size, options));
    const bool list = arguments.methods_option->count() > 0 && options.methods.empty();
    std::fputs((arguments.json ? json_of(comparison) : list ? text_of(profile) : text_of(comparison)).c_str(), stdout);
    return {};
}

}  // namespace

void add_compare(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    arguments->model.add_to(command, true);
    command.add_option("--profile", arguments->profile, "tutorial, tutorial-stages, or what `wsync bench --json` wrote")->type_name("P")->capture_default_str();
    command.add_option("--placement", arguments->placements, "co-located, disaggregated-same-node, disaggregated-cross-node (all)")
        ->expected(1, 16)
        ->delimiter(',')
        ->type_name("NAME");
    arguments->methods_option = command.add_option("--methods", arguments->methods, "only these, by id; without any: list what the profile holds")
                                    ->expected(0, 64)
                                    ->delimiter(',')
                                    ->type_name("ID");
    command.add_flag("--json", arguments->json, "print wsync.compare/1 (docs/json.md)");
    command.callback([arguments, &run] { run = [arguments] { return compare_verb(*arguments); }; });
}

}  // namespace wsync::tool
