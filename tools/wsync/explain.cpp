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
    options.interrupted = &interrupt_flag();
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

struct FsdpArguments {
    std::string model = "0.1GB", transport = "shm", layout = "drawn";
    unsigned ranks = 4;
    double late = 0.2, hold = 0.3;
    bool json = false;
};

Status explain_fsdp_verb(const FsdpArguments& arguments) {
    WSYNC_TRY(auto model, choose_model(arguments.model));
    ExplainFsdpOptions options;
    options.manifest = std::move(model.manifest);
    options.model = model.name;
    options.ranks = arguments.ranks;
    options.whole_tensors = arguments.layout == "drawn";
    options.transport = arguments.transport;
    options.late_seconds = arguments.late;
    options.hold_seconds = arguments.hold;
    options.interrupted = &interrupt_flag();
    ProgressLine progress;
    options.progress = [&](double fraction, std::string_view what) { progress.show(fraction, what); };
    WSYNC_TRY(const auto found, explain_fsdp(options));
    progress.clear();
    std::fputs((arguments.json ? to_json(found).dump(2) + "\n" : text_of(found)).c_str(), stdout);
    return {};
}

void add_fsdp(CLI::App& explain, Run& run) {
    auto* command = explain.add_subcommand("fsdp", "a sharded trainer's flow by real processes: gather, handles, load; then the same without a gather");
    command->footer("Examples:\n  wsync explain fsdp\n  wsync explain fsdp --ranks 8 --model 0.05GB --layout fsdp\n  wsync explain fsdp --transport tcp --late 0 --json");
    auto arguments = std::make_shared<FsdpArguments>();
    command->add_option("-m,--model", arguments->model, "catalogue id, checkpoint's tensor list, size (0.5GB) or 20000x48KiB; the values are drawn")->capture_default_str();
    command->add_option("--ranks", arguments->ranks, "trainer processes; each gathers a whole model")->check(CLI::Range(1, 64))->capture_default_str();
    command->add_option("--layout", arguments->layout, "drawn: tensor i on rank i mod N, as the tutorial draws it; fsdp: every tensor cut into N parts")
        ->check(CLI::IsMember({"drawn", "fsdp"}))
        ->capture_default_str();
    command->add_option("--transport", arguments->transport, "of the gather, and of the way without one: shm, tcp")->check(CLI::IsMember({"shm", "tcp"}))->capture_default_str();
    command->add_option("--late", arguments->late, "seconds by which the last rank is made late, to see who waits")->check(CLI::Range(0.0, 60.0))->capture_default_str();
    command->add_option("--hold", arguments->hold, "seconds for which the engine keeps its holds")->check(CLI::Range(0.0, 60.0))->capture_default_str();
    command->add_flag("--json", arguments->json, "print wsync.explain_fsdp/1 (docs/json.md)");
    command->callback([arguments, &run] { run = [arguments] { return explain_fsdp_verb(*arguments); }; });
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
    add_fsdp(command, run);
}

}  // namespace wsync::tool
