#include "base/parallel.hpp"
#include "interrupt.hpp"
#include "interruptible_files.hpp"
#include "measure/child.hpp"
#include "measure/model_choice.hpp"
#include "measure/synthetic_weights.hpp"
#include "memory/host_buffer.hpp"
#include "output_directory.hpp"
#include "store/directory_check.hpp"
#include "store/version_writer.hpp"
#include "terminal.hpp"
#include "transport/file/file_transport.hpp"
#include "verb.hpp"
#include "wsync/report/units.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <thread>

namespace wsync::tool {
namespace {

struct Arguments {
    std::string model, out;
    std::uint64_t seed = 1;
    bool json = false;
};

Status synth(const Arguments& arguments) {
    std::error_code failed;
    if (std::filesystem::exists(arguments.out, failed)) {
        return Error{Code::invalid_argument, fmt::format("{} is there already: choose another --out, or remove it", arguments.out), {}};
    }
    WSYNC_TRY(auto model, choose_model(arguments.model));
    WSYNC_TRY(auto layout, Layout::replicated(model.manifest, 1));
    WSYNC_TRY_VOID(check_room(parent_of(arguments.out), version_bytes(model.manifest), arguments.out));
    WSYNC_TRY(auto placement, pack(layout, 0));
    HostBufferOptions buffer_options;
    buffer_options.bytes = std::max<std::uint64_t>(placement.bytes(), 1);
    const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
    buffer_options.prefault_threads = threads;
    WSYNC_TRY(auto buffer, HostBuffer::make(buffer_options).within("making room for the weights"));
    ProgressLine progress;
    progress.show(0.1, "drawing the weights");
    const auto shards = layout.shards_of(0);
    parallel_for(shards.size(), threads, [&](std::size_t i) {
        if (interrupted_by() != 0) return;
        const auto& spec = layout.manifest()[shards[i].tensor];
        fill_trained(spec, arguments.seed, buffer->bytes().subspan(placement.places[i].offset, spec.bytes()));
    });
    if (interrupted_by() != 0) return Error{Code::cancelled, "interrupted", {}};
    progress.show(0.5, "writing");
    WSYNC_TRY(auto bulk, make_file_transport(FileOptions{}));
    const auto files = make_interruptible_files(bulk.get());
    const auto root = arguments.out + ".wsync-stage";
    WriteVersionOptions write;
    write.root = root;
    write.version.name = "synth";
    write.version.epoch = 1;
    write.version.number = 1;
    write.keep = 0;
    const auto region = HostBuffer::region(buffer);
    auto written = write_version(*files, write, {&layout, &placement, std::span(&region, 1), nullptr});
    if (written) {
        std::filesystem::rename(written->path, arguments.out, failed);
        if (failed) written = Error{Code::io_error, fmt::format("renaming {} to {}: {}", written->path, arguments.out, failed.message()), {}};
    }
    std::error_code ignored;
    std::filesystem::remove_all(root, ignored);
    if (!written) return std::move(written).error();
    progress.clear();
    if (arguments.json) {
        const Json document{{"schema", "wsync.synth/1"}, {"out", arguments.out}, {"model", model.name}, {"seed", arguments.seed},
                            {"tensors", model.manifest.size()}, {"bytes", model.manifest.bytes()}, {"bytes_written", written->bytes}};
        fmt::print("{}\n", document.dump(2));
    } else {
        fmt::print("{}: {} tensors, {} of {}, drawn as trained weights are distributed (seed {})\n", arguments.out, model.manifest.size(),
                   show_bytes(model.manifest.bytes()), model.name, arguments.seed);
    }
    return {};
}

}  // namespace

void add_synth(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("-m,--model", arguments->model, "catalogue id, config.json, size (0.5GB) or 20000x48KiB")->required();
    command.add_option("-o,--out", arguments->out, "the directory to make")->required();
    command.add_option("--seed", arguments->seed, "equal seeds give equal bytes")->capture_default_str();
    command.add_flag("--json", arguments->json, "print the document wsync.synth/1");
    command.callback([arguments, &run] { run = [arguments] { return synth(*arguments); }; });
}

}  // namespace wsync::tool
