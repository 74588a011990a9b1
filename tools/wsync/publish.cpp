#include "control_option.hpp"
#include "interrupt.hpp"
#include "interruptible_files.hpp"
#include "measure/child.hpp"
#include "store/checkpoint.hpp"
#include "terminal.hpp"
#include "transport/file/file_transport.hpp"
#include "verb.hpp"
#include "wsync/report/units.hpp"
#include "wsync/session/session.hpp"

#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <thread>
#include <utility>

namespace wsync::tool {
namespace {

using namespace std::chrono_literals;

struct Arguments {
    std::string path, name, control = default_control(), host = "127.0.0.1";
    std::uint64_t step = 0;
    double seconds = 0;
    unsigned threads = 2;
    bool watch = false, json = false;
};

// What changes when somebody writes a new checkpoint at the path.
std::string fingerprint(const std::string& path) {
    std::string text;
    std::error_code ignored;
    std::vector<std::string> files{path};
    if (std::filesystem::is_directory(path, ignored)) {
        files.clear();
        for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) files.push_back(entry.path().string());
        std::sort(files.begin(), files.end());
    }
    for (const auto& file : files) {
        struct stat info {};
        if (::stat(file.c_str(), &info) != 0) continue;
        text += fmt::format("{} {} {} {}.{} {}.{}\n", file, info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
    }
    return text;
}

Status fill(Write& write, const Checkpoint& checkpoint, FileSystem& files, std::uint64_t total) {
    ProgressLine progress;
    std::uint64_t done = 0;
    const auto shards = checkpoint.layout.shards_of(0);
    for (std::size_t i = 0; i < write.size(); ++i) {
        const auto target = write.shard(i);
        const auto it = std::find_if(shards.begin(), shards.end(), [&](const Shard& s) { return checkpoint.layout.manifest()[s.tensor].name == target.name; });
        if (it == shards.end()) return Error{Code::corrupt, fmt::format("the checkpoint lost {} while it was read", target.name), {}};
        const auto& place = checkpoint.placement.places[static_cast<std::size_t>(it - shards.begin())];
        Region region;
        region.address = target.bytes.data();
        region.bytes = target.bytes.size();
        region.writable = true;
        const FileRange range{place.offset, &region, 0, region.bytes};
        WSYNC_TRY(auto digests, files.read(checkpoint.files[place.region], std::span(&range, 1)).within("reading " + std::string(target.name)));
        (void)digests;
        done += region.bytes;
        progress.show(total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1, "reading the checkpoint");
    }
    return {};
}

void report(const Arguments& arguments, const Version& version, const Manifest& manifest, double seconds) {
    if (arguments.json) {
        const Json line{{"schema", "wsync.publish/1"}, {"version", version.label()}, {"name", version.name}, {"epoch", version.epoch}, {"number", version.number},
                        {"step", version.step}, {"digest", version.digest.hex()}, {"tensors", manifest.size()}, {"bytes", manifest.bytes()}, {"seconds", seconds}};
        fmt::print("{}\n", line.dump());
    } else {
        fmt::print("published {} · {} tensors, {} in {}\n", version.label(), manifest.size(), show_bytes(manifest.bytes()), show_seconds(seconds));
    }
    std::fflush(stdout);
}

// One publication after another of what lies at the path.
class Offer {
public:
    Offer(const Arguments& arguments, Session& session, FileSystem& files) : arguments_(arguments), session_(session), files_(files), step_(arguments.step) {}

    // Reads the checkpoint and publishes it. Error{corrupt} where it changed meanwhile: nothing of it is seen then.
    Status publish() {
        const auto begin = Deadline::clock::now();
        WSYNC_TRY(auto checkpoint, open_checkpoint(files_, arguments_.path));
        if (!publisher_ || checkpoint.layout.digest() != layout_) {
            publisher_.reset();  // another model: another epoch
            PublisherOptions options;
            options.name = arguments_.name;
            options.source = checkpoint.layout;
            options.threads = arguments_.threads;
            options.open_deadline = Deadline(15s).unless(interrupt_flag());
            WSYNC_TRY(auto made, session_.publisher(options));
            publisher_.emplace(std::move(made));
            layout_ = checkpoint.layout.digest();
        }
        WSYNC_TRY(auto write, publisher_->begin_write({.deadline = Deadline(60s).unless(interrupt_flag())}));
        auto filled = fill(write, checkpoint, files_, checkpoint.layout.manifest().bytes());
        // A read that failed because the file was cut: what happened to the file says more.
        if (filled || filled.error().code == Code::corrupt || filled.error().code == Code::not_found) WSYNC_TRY_VOID(check_unchanged(checkpoint));
        WSYNC_TRY_VOID(std::move(filled));
        WSYNC_TRY(auto version, publisher_->publish(std::move(write), {.step = step_}));
        ++step_;
        report(arguments_, version, checkpoint.layout.manifest(), std::chrono::duration<double>(Deadline::clock::now() - begin).count());
        return {};
    }

private:
    const Arguments& arguments_;
    Session& session_;
    FileSystem& files_;
    std::optional<Publisher> publisher_;
    Digest layout_{};
    std::uint64_t step_;
};

// What a writer at the path may cause and mend.
bool is_of_the_files(const Error& error) {
    return error.code == Code::corrupt || error.code == Code::not_found || error.code == Code::io_error || error.code == Code::invalid_argument;
}

Status serve(const Arguments& arguments) {
    SessionOptions session_options;
    session_options.control = arguments.control;
    session_options.tcp_host = arguments.host;
    WSYNC_TRY(auto session, Session::open(session_options));
    FileOptions file_options;
    WSYNC_TRY(auto bulk, make_file_transport(file_options));
    const auto files = make_interruptible_files(bulk.get());

    Offer offer(arguments, session, *files);
    auto tried = fingerprint(arguments.path);  // what was published, or could not be
    auto seen = tried;
    WSYNC_TRY_VOID(offer.publish());
    if (!arguments.json) {
        fmt::print("serving at {}; Ctrl-C ends it · next: wsync pull {} --out DIR\n", arguments.control, arguments.name);
        std::fflush(stdout);
    }
    const auto end = arguments.seconds > 0 ? Deadline(std::chrono::duration<double>(arguments.seconds)) : Deadline::never();
    while (interrupted_by() == 0 && !end.expired()) {
        std::this_thread::sleep_for(100ms);
        if (!arguments.watch) continue;
        // Two looks that agree: nobody writes at the moment.
        const auto found = fingerprint(arguments.path);
        if (std::exchange(seen, found) != found || found == tried) continue;
        tried = found;
        auto published = offer.publish();
        if (published) continue;
        if (!is_of_the_files(published.error())) return published;
        fmt::print(stderr, "wsync publish: {}; receivers keep what they have\n", published.error().to_string());
    }
    return {};  // being told to stop is how a publisher ends
}

}  // namespace

void add_publish(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("path", arguments->path, "a safetensors file, or a checkpoint's directory")->required();
    command.add_option("--name", arguments->name, "of the weights: A-Z a-z 0-9 . _ + -")->required();
    command.add_option("--control", arguments->control, "dir:PATH, a folder that both sides see")->capture_default_str();
    command.add_option("--host", arguments->host, "address that tcp receivers reach this host at")->capture_default_str();
    command.add_option("--step", arguments->step, "the trainer's step of this version")->capture_default_str();
    command.add_option("--for", arguments->seconds, "end after so many seconds (default: at Ctrl-C)")->check(CLI::NonNegativeNumber);
    command.add_option("--threads", arguments->threads, "for digests")->check(CLI::Range(1, 64))->capture_default_str();
    command.add_flag("--watch", arguments->watch, "publish again when the files change");
    command.add_flag("--json", arguments->json, "one JSON line a version");
    command.callback([arguments, &run] { run = [arguments] { return serve(*arguments); }; });
}

}  // namespace wsync::tool
