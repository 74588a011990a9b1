// wsync: rsync for model weights. Parses, runs one verb, prints one line for what went wrong.
#include "interrupt.hpp"
#include "verb.hpp"

#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
#include <iostream>
#include <system_error>

namespace {

using wsync::tool::Verb;

constexpr Verb kVerbs[] = {
    {"bench", "measure every way on this machine, beside the machine's limits",
     "  wsync bench --model qwen2.5-0.5b\n  wsync bench --methods shm_copy tcp --receivers 2 --json\n  wsync bench limits",
     wsync::tool::add_bench},
    {"compare", "what each method costs in each placement, by a profile's formula",
     "  wsync compare\n  wsync compare --params 70B --dtype fp16 --placement disaggregated-cross-node\n  wsync compare --model qwen3-8b --profile wsync-bench.json\n"
     "  wsync compare --methods\n  wsync compare -m 0.5 --profile tutorial-stages --json",
     wsync::tool::add_compare},
    {"demo", "real weights from a trainer to receivers by every way, proved; then faults",
     "  wsync demo\n  wsync demo --model model.safetensors --receivers 3\n  wsync demo --model 0.2GB --json",
     wsync::tool::add_demo},
    {"doctor", "which transports work here; if not, why, and what to do", "  wsync doctor\n  wsync doctor --dir /data --json", wsync::tool::add_doctor},
    {"explain", "what the tutorial tells, shown on live objects: ipc (a handle), fsdp (a sharded trainer's gather)",
     "  wsync explain ipc\n  wsync explain fsdp --ranks 4\n  wsync explain ipc --help", wsync::tool::add_explain},
    {"inspect", "what a checkpoint or a version's directory holds; --verify reads every byte",
     "  wsync inspect model.safetensors\n  wsync inspect weights --verify\n  wsync inspect weights --json", wsync::tool::add_inspect},
    {"publish", "offer a checkpoint's weights to whoever pulls them",
     "  wsync publish model.safetensors --name policy\n  wsync publish checkpoints/step-100 --name policy --control dir:/shared/wsync --host 10.0.0.1 --watch",
     wsync::tool::add_publish},
    {"pull", "get the newest weights of a name: only what changed, proved, resumable",
     "  wsync pull policy --out weights\n  wsync pull policy --out weights --watch --stats\n  wsync pull policy --control dir:/shared/wsync --transport tcp --hold",
     wsync::tool::add_pull},
    {"synth", "a checkpoint with digests, its values drawn as trained weights are distributed",
     "  wsync synth --model qwen2.5-0.5b --out weights\n  wsync synth --model 0.1GB --out small --seed 7", wsync::tool::add_synth},
    {"timeline", "one RLHF iteration: generation, training, transfer, and what the transfer costs of it",
     "  wsync timeline\n  wsync timeline --model llama-3.1-70b --method nccl_ib --generation 60 --training 30\n"
     "  wsync timeline --profile wsync-bench.json --method tcp --json",
     wsync::tool::add_timeline},
    {"tutorial", "the tutorial's walk: what it says, what its formula gives, what was measured here",
     "  wsync tutorial\n  wsync tutorial --params 8B --dtype bf16\n  wsync bench --json > wsync-bench.json && wsync tutorial -m 16",
     wsync::tool::add_tutorial},
};

// CLI11 may say several things in several lines: the first one is what was wrong.
std::string one_line(std::string text) {
    while (!text.empty() && text.back() == '\n') text.pop_back();
    for (char& c : text)
        if (c == '\n' || c == '\r') c = ' ';
    return text;
}

int exit_code(const wsync::Error& error) {
    switch (error.code) {
        case wsync::Code::invalid_argument: return 2;
        case wsync::Code::cancelled: return wsync::tool::interrupted_by() == 0 ? 1 : 128 + wsync::tool::interrupted_by();
        default: return 1;
    }
}

wsync::Error cannot_print(int errno_value) { return wsync::errno_error(errno_value, "writing to standard output"); }

// The verb, and whether all that it printed was taken.
wsync::Status run_and_flush(const wsync::tool::Run& run) {
    try {
        auto status = run();
        if (status && (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)) return cannot_print(errno);
        return status;
    } catch (const std::system_error& failure) {  // fmt::print's
        return cannot_print(failure.code().value());
    }
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("rsync for model weights: from an RL trainer to its inference engines", "wsync");
    app.set_version_flag("--version", "wsync " WSYNC_VERSION);
    app.require_subcommand(1);
    app.footer("wsync VERB --help shows a verb's options and examples.");
    wsync::tool::Run run;
    for (const auto& verb : kVerbs) {
        auto* command = app.add_subcommand(verb.name, verb.summary);
        command->footer(std::string("Examples:\n") + verb.examples);
        verb.add(*command, run);
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) {  // --help, --version
            wsync::tool::catch_interrupts();
            (void)app.exit(e);
            if (std::cout.flush().good()) return 0;
            fmt::print(stderr, "wsync: {}\n", cannot_print(errno).to_string());
            return 1;
        }
        const auto verbs = app.get_subcommands();
        fmt::print(stderr, "wsync{}{}: {} (--help shows what there is)\n", verbs.empty() ? "" : " ", verbs.empty() ? "" : verbs.front()->get_name(),
                   one_line(e.what()));
        return 2;
    }
    wsync::tool::catch_interrupts();
    auto status = run_and_flush(run);
    if (status) return 0;
    // What Ctrl-C ends early calls it a deadline that passed.
    if (wsync::tool::interrupted_by() != 0 && status.error().code == wsync::Code::timed_out) {
        status = wsync::Error{wsync::Code::cancelled, "interrupted: " + status.error().message, {}};
    }
    fmt::print(stderr, "wsync {}: {}\n", app.get_subcommands().front()->get_name(), one_line(status.error().to_string()));
    return exit_code(status.error());
}
