#include "measure/bench.hpp"
#include "measure/doctor.hpp"
#include "verb.hpp"
#include "wsync/report/table.hpp"

#include <fmt/format.h>

namespace wsync::tool {
namespace {

struct Arguments {
    std::string directory = ".";
    bool json = false;
};

Status doctor(const Arguments& arguments) {
    WSYNC_TRY(auto findings, examine_machine(arguments.directory));
    Json document{{"schema", "wsync.doctor/1"}, {"machine", describe_machine()}, {"findings", Json::array()}};
    Table table({{"what"}, {"works"}, {"how, or why not"}, {"what to do"}});
    for (const auto& finding : findings) {
        document["findings"].push_back({{"what", finding.what}, {"ok", finding.ok}, {"how", finding.how}, {"remedy", finding.remedy}});
        table.add({finding.what, finding.ok ? "yes" : "no", finding.how, finding.remedy});
    }
    if (arguments.json) {
        fmt::print("{}\n", document.dump(2));
    } else {
        fmt::print("{}\n{}", describe_machine(), table.render());
    }
    return {};
}

}  // namespace

void add_doctor(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("--dir", arguments->directory, "where files would be written")->capture_default_str();
    command.add_flag("--json", arguments->json, "print the document wsync.doctor/1");
    command.callback([arguments, &run] { run = [arguments] { return doctor(*arguments); }; });
}

}  // namespace wsync::tool
