#include "explain_text.hpp"
#include "interrupt.hpp"
#include "measure/model_choice.hpp"
#include "terminal.hpp"
#include "verb.hpp"

#include <cstdio>
#include <fmt/format.h>

namespace wsync::tool {
namespace {

struct IpcArguments {
    std::string model = "0.25GB";
    int opens = 21, copies = 5;
    bool json = false;
};

Status explain_ipc_verb(const IpcArguments& arguments) {
    WSYNC_TRY(auto model, choose_model(arguments.model));
    ExplainIpcOptions options;
    options.manifest = std::move(model.manifest);
    options.model = model.name;
    options.opens = arguments.opens;
    options.copies = arguments.copies;
    options.cancelled = [] { return interrupted_by() != 0; };
    ProgressLine progress;
    options.progress = [&](double fraction, std::string_view what) { progress.show(fraction, what); };
    WSYNC_TRY(const auto found, explain_ipc(options));
    progress.clear();
    std::fputs((arguments.json ? to_json(found).dump(2) + "\n" : text_of(found)).c_str(), stdout);
    return {};
}

void add_ipc(CLI::App& explain, Run& run) {
    auto* command = explain.add_subcommand("ipc", "a handle from live objects: what it holds, one page under two addresses, what it costs and saves");
    command->footer("Examples:\n  wsync explain ipc\n  wsync explain ipc --model qwen2.5-0.5b\n  wsync explain ipc --model 20000x2KiB --json");
    auto arguments = std::make_shared<IpcArguments>();
    command->add_option("-m,--model", arguments->model, "catalogue id, checkpoint's tensor list, size (0.5GB) or 20000x48KiB; the values are drawn")->capture_default_str();
    command->add_option("--opens", arguments->opens, "how often the handle is opened")->check(CLI::Range(1, 10000))->capture_default_str();
    command->add_option("--copies", arguments->copies, "how often the same bytes are copied, for comparison")->check(CLI::Range(1, 1000))->capture_default_str();
    command->add_flag("--json", arguments->json, "print wsync.explain_ipc/1 (docs/json.md)");
    command->callback([arguments, &run] { run = [arguments] { return explain_ipc_verb(*arguments); }; });
}

}  // namespace

void add_explain(CLI::App& command, Run& run) {
    auto what = std::make_shared<std::string>();
    command.add_option("what", *what, "ipc or fsdp")->group("");
    command.callback([&command, what, &run] {
        if (!command.get_subcommands().empty()) return;
        run = [what]() -> Status {
            return Error{Code::invalid_argument, what->empty() ? "of what? There are: ipc, fsdp" : fmt::format("no explanation of \"{}\"; there are: ipc, fsdp", *what), {}};
        };
    });
    add_ipc(command, run);
}

}  // namespace wsync::tool
