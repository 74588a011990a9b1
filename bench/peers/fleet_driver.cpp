// wsync's own rows of the peer table: the fleet that `wsync bench` runs, one step at a time, so that a peer's step can
// come between.
//
//   peers_fleet_driver --model M --methods shm_map,tcp [--dir PATH] [--threads N]
//
// Reads one JSON object a line, answers with one: {"do": "publish", "save": "no"|"recycled"|"new_files"},
// {"do": "sync", "method": ID}, {"do": "audit", "method": ID}, {"do": "limit", "name": "M2"|"T"|"W"|"W2"|"R"|"P"} (this
// round's figure of the machine itself). The answer to a mistake is {"error": {...}}. Ends, and leaves nothing behind, when
// its input ends.
#include "measure/fleet.hpp"
#include "measure/limits.hpp"
#include "measure/model_choice.hpp"
#include "wsync/report/sync_report.hpp"

#include <CLI/CLI.hpp>
#include <csignal>
#include <fmt/format.h>
#include <iostream>

namespace wsync {
namespace {

struct Arguments {
    std::string model = "qwen2.5-0.5b", directory = ".";
    std::vector<std::string> methods = {"shm_map", "shm_copy", "tcp"};
    unsigned threads = 2;
};

Result<Fleet::Save> save_from(const std::string& text) {
    if (text == "no") return Fleet::Save::no;
    if (text == "recycled") return Fleet::Save::recycled;
    if (text == "new_files") return Fleet::Save::new_files;
    return Error{Code::invalid_argument, fmt::format("save is no, recycled or new_files, not {}", text), {}};
}

Json to_json(const Synced& synced) {
    Json stages = Json::object();
    for (int i = 0; i < kStageCount; ++i) stages[std::string(name_of(static_cast<Stage>(i)))] = synced.stages[static_cast<Stage>(i)];
    return Json{{"version", synced.version},          {"transport", synced.transport},
                {"verified", synced.verification},    {"bytes_moved", synced.bytes_moved},
                {"stages", stages},                   {"seconds", synced.stages.total()},
                {"hand_over_seconds", synced.stages.hand_over()}};
}

// The fleet and the machine's limits, which share nothing but the round that they are measured in.
class Driver {
public:
    Driver(Fleet& fleet, std::string directory) : fleet_(fleet), directory_(std::move(directory)) {}

    Result<Json> handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "publish") {
            WSYNC_TRY(const auto save, save_from(message.value("save", "no")));
            WSYNC_TRY(const auto published, fleet_.publish(++step_, save));
            return Json{{"version", published.label}, {"seconds", published.seconds}};
        }
        if (what == "sync") {
            WSYNC_TRY(auto synced, fleet_.sync(message.value("method", "")));
            if (synced.front().error) return *std::move(synced.front().error);
            return to_json(synced.front());
        }
        if (what == "audit") {
            WSYNC_TRY_VOID(fleet_.audit(message.value("method", "")));
            return Json{{"same_bytes", true}};
        }
        if (what == "limit") return limit(message.value("name", ""));
        return Error{Code::invalid_argument, "the fleet does not know how to " + what, {}};
    }

private:
    Result<Json> limit(const std::string& name) {
        auto it = probes_.find(name);
        if (it == probes_.end()) {
            const auto kind = limit_kind_of(name);
            if (!kind) return Error{Code::invalid_argument, "there is no limit " + name, {}};
            LimitOptions options;
            options.bytes = std::clamp<std::uint64_t>(fleet_.model_bytes() / 4096 * 4096, 16 << 20, std::uint64_t{1} << 30);
            options.directory = directory_;
            if (buffers_ == nullptr) {
                WSYNC_TRY(buffers_, LimitBuffers::make(options.bytes));
            }
            WSYNC_TRY(auto probe, LimitProbe::make(*kind, options, buffers_));
            for (int i = 0; i < 3; ++i) {  // one round on a noisy machine would choose the variant by luck
                WSYNC_TRY(const auto rate, probe.run_once());
                (void)rate;
            }
            probe.keep_best();
            it = probes_.emplace(name, std::move(probe)).first;
        }
        WSYNC_TRY(const auto rate, it->second.run_once());
        WSYNC_TRY(const auto best, it->second.limit());
        return Json{{"bytes_per_second", rate}, {"variant", best.variant}};
    }

    Fleet& fleet_;
    std::string directory_;
    std::uint64_t step_ = 0;
    std::shared_ptr<LimitBuffers> buffers_;
    std::map<std::string, LimitProbe> probes_;
};

Status run(const Arguments& arguments) {
    WSYNC_TRY(auto model, choose_model(arguments.model));
    FleetOptions options;
    options.checkpoint = model.checkpoint;
    WSYNC_TRY(options.source, Layout::replicated(model.manifest, 1));
    options.methods = arguments.methods;
    options.threads = arguments.threads;
    if (std::find(options.methods.begin(), options.methods.end(), "disk") != options.methods.end()) options.disk_directory = arguments.directory;
    WSYNC_TRY(const auto* kernels, choose_kernels());  // as wsync bench does
    options.kernels = kernels->name;
    WSYNC_TRY(auto fleet, Fleet::start(std::move(options)));
    std::cout << Json{{"ready", true}, {"model", model.name}, {"bytes", fleet->model_bytes()}, {"tensors", model.manifest.size()}} << std::endl;
    Driver driver(*fleet, arguments.directory);
    for (std::string line; std::getline(std::cin, line);) {
        const auto message = Json::parse(line, nullptr, false);
        auto answer = message.is_object() ? driver.handle(message) : Result<Json>(Error{Code::invalid_argument, "not a JSON object: " + line, {}});
        std::cout << (answer ? *answer : error_message(answer.error())) << std::endl;
    }
    return {};
}

}  // namespace
}  // namespace wsync

int main(int argc, char** argv) {
    wsync::Arguments arguments;
    CLI::App app("wsync's rows of the peer table, step by step");
    app.add_option("--model", arguments.model, "as wsync bench takes it")->capture_default_str();
    app.add_option("--methods", arguments.methods, "of shm_map, shm_copy, tcp, disk")->delimiter(',')->capture_default_str();
    app.add_option("--dir", arguments.directory, "where the disk method writes")->capture_default_str();
    app.add_option("--threads", arguments.threads, "of each process")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    std::signal(SIGPIPE, SIG_IGN);
    if (auto done = wsync::run(arguments); !done) {
        std::cout << wsync::error_message(done.error()) << std::endl;
        return 1;
    }
    return 0;
}
