// A verb of the tool: its words for --help, and what it adds to the command line.
//
// Each verb has a file of its own with one function add_NAME: it adds its options to `command` and sets `run`, which is
// called after parsing. A verb prints its result on standard output and returns an Error for everything else; main()
// prints that as one line and picks the exit code: 2 for Code::invalid_argument (bad use), 130 for cancelled, else 1.
#pragma once

#include "wsync/base/result.hpp"

#include <CLI/CLI.hpp>
#include <functional>

namespace wsync::tool {

using Run = std::function<Status()>;

struct Verb {
    const char* name;
    const char* summary;
    const char* examples;  // lines, shown below the options
    void (*add)(CLI::App& command, Run& run);
};

void add_bench(CLI::App& command, Run& run);
void add_compare(CLI::App& command, Run& run);
void add_demo(CLI::App& command, Run& run);
void add_doctor(CLI::App& command, Run& run);
void add_explain(CLI::App& command, Run& run);
void add_inspect(CLI::App& command, Run& run);
void add_publish(CLI::App& command, Run& run);
void add_pull(CLI::App& command, Run& run);
void add_synth(CLI::App& command, Run& run);
void add_timeline(CLI::App& command, Run& run);
void add_tutorial(CLI::App& command, Run& run);

}  // namespace wsync::tool
