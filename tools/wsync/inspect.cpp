#include "interrupt.hpp"
#include "measure/child.hpp"
#include "store/version_reader.hpp"
#include "terminal.hpp"
#include "verb.hpp"
#include "wsync/report/table.hpp"
#include "wsync/report/units.hpp"

#include <filesystem>
#include <fmt/format.h>

namespace wsync::tool {
namespace {

struct Arguments {
    std::string path;
    bool verify = false, json = false, all = false;
};

Status inspect(const Arguments& arguments) {
    const auto files = make_file_system(nullptr);
    std::error_code ignored;
    const bool is_version = std::filesystem::exists(arguments.path + "/" + std::string(kVersionFile), ignored);
    Json document{{"schema", "wsync.inspect/1"}, {"path", arguments.path}};
    std::optional<StoredVersion> stored;
    Checkpoint plain;
    if (is_version) {
        WSYNC_TRY(auto opened, open_version(*files, arguments.path));
        stored.emplace(std::move(opened));
        document["version"] = stored->manifest.version.label();
        document["step"] = stored->manifest.version.step;
        document["digest"] = stored->manifest.version.digest.hex();
    } else {
        WSYNC_TRY(plain, open_checkpoint(*files, arguments.path));
    }
    const auto& checkpoint = stored ? stored->checkpoint : plain;
    const auto& manifest = checkpoint.layout.manifest();
    document["files"] = checkpoint.files;
    document["bytes"] = manifest.bytes();
    document["parameters"] = manifest.parameters();
    document["tensors"] = Json::array();
    Table table({{"tensor"}, {"type"}, {"shape"}, {"bytes", Table::Align::right}});
    std::size_t shown = 0;
    for (const auto& tensor : manifest.tensors()) {
        Json shape = Json::array();
        for (auto extent : tensor.shape) shape.push_back(extent);
        document["tensors"].push_back({{"name", tensor.name}, {"dtype", name_of(tensor.dtype)}, {"shape", shape}, {"bytes", tensor.bytes()}});
        if (arguments.all || shown++ < 20) table.add({tensor.name, std::string(name_of(tensor.dtype)), tensor.shape.to_string(), show_bytes(tensor.bytes())});
    }
    document["verified"] = nullptr;
    if (arguments.verify) {
        if (!stored) {
            return Error{Code::invalid_argument, fmt::format("{} has no digests to verify against: only a version's directory (wsync.json) has", arguments.path), {}};
        }
        ProgressLine progress;
        VerifyOptions options;
        options.progress = [&](std::uint64_t done, std::uint64_t total) {
            progress.show(total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1, "reading every byte");
        };
        WSYNC_TRY(auto verified, verify_version(*files, arguments.path, options));
        document["verified"] = {{"bytes", verified.bytes}, {"blocks", verified.blocks}};
    }
    if (arguments.json) {
        fmt::print("{}\n", document.dump(2));
        return {};
    }
    if (stored) fmt::print("{} · step {}\n", stored->manifest.version.label(), stored->manifest.version.step);
    fmt::print("{} tensors, {} parameters, {} in {} file{}\n{}", manifest.size(), manifest.parameters(), show_bytes(manifest.bytes()), checkpoint.files.size(),
               checkpoint.files.size() == 1 ? "" : "s", table.render());
    if (!arguments.all && manifest.size() > 20) fmt::print("... and {} more (--all)\n", manifest.size() - 20);
    if (arguments.verify) fmt::print("verified: {} in {} blocks\n", show_bytes(document["verified"]["bytes"].get<std::uint64_t>()), document["verified"]["blocks"].get<std::uint64_t>());
    return {};
}

}  // namespace

void add_inspect(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("path", arguments->path, "a safetensors file, a checkpoint's or a version's directory")->required();
    command.add_flag("--verify", arguments->verify, "read every byte against the version's digests");
    command.add_flag("--all", arguments->all, "every tensor, not the first 20");
    command.add_flag("--json", arguments->json, "print the document wsync.inspect/1");
    command.callback([arguments, &run] { run = [arguments] { return inspect(*arguments); }; });
}

}  // namespace wsync::tool
