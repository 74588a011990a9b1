#include "control_option.hpp"
#include "interrupt.hpp"
#include "interruptible_files.hpp"
#include "measure/child.hpp"
#include "output_directory.hpp"
#include "partial_file.hpp"
#include "store/directory_check.hpp"
#include "store/version_reader.hpp"
#include "store/version_writer.hpp"
#include "terminal.hpp"
#include "transport/file/file_transport.hpp"
#include "verb.hpp"
#include "wsync/report/stage_bar.hpp"
#include "wsync/report/sync_json.hpp"
#include "wsync/report/units.hpp"
#include "wsync/session/session.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <thread>

namespace wsync::tool {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

struct Arguments {
    std::string name, control = default_control(), out;
    std::vector<std::string> transports;
    double timeout = 30, rate = 0;
    unsigned threads = 2;
    bool hold = false, dry_run = false, stats = false, watch = false, json = false, partial = false;
};

// Puts the finished directory in the output's place: at once where there was none, by exchange where there was one.
Status put_in_place(const std::string& made, const std::string& out) {
    if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, out.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno == EEXIST && ::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, out.c_str(), RENAME_EXCHANGE) == 0) return {};
    return errno_error(errno, fmt::format("putting {} in the place of {}", made, out));
}

class Pull {
public:
    explicit Pull(const Arguments& arguments)
        : arguments_(arguments), out_(fs::path(arguments.out).lexically_normal().string()), partial_path_(beside("partial")), stage_root_(beside("stage")) {}

    Status run() {
        WSYNC_TRY(bulk_, make_file_transport(FileOptions{}));
        files_ = make_interruptible_files(bulk_.get());
        if (!out_.empty()) {
            WSYNC_TRY_VOID(check_directory(parent_of(out_), out_));
            WSYNC_TRY([[maybe_unused]] const auto kept, files_to_keep(*files_, out_));
        }
        SessionOptions session_options;
        session_options.control = arguments_.control;
        WSYNC_TRY(auto session, Session::open(session_options));

        WSYNC_TRY(auto receiver, session.receiver(receiver_options()));
        on_interrupt([](void* pull) { static_cast<Receiver*>(pull)->interrupt(); }, &receiver);
        auto status = loop(receiver);
        on_interrupt(nullptr, nullptr);
        std::error_code ignored;
        fs::remove_all(stage_root_, ignored);
        // A finished or an interrupted pull leaves nothing, nor does one that finds the disk full; one that broke leaves what
        // the next one goes on from.
        const bool full = !status && status.error().code == Code::resource_exhausted;
        if (status || full || (interrupted_by() != 0 && !arguments_.partial)) partial_.remove();
        return status;
    }

private:
    [[nodiscard]] std::string beside(std::string_view what) const {
        const fs::path path(out_.empty() ? std::string("hold") : out_);
        const auto name = path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
        const auto parent = path.has_filename() ? path.parent_path() : path.parent_path().parent_path();
        return (parent / fmt::format(".{}.wsync-{}", name, what)).string();
    }

    ReceiverOptions receiver_options() {
        ReceiverOptions options;
        options.name = arguments_.name;
        options.id = fmt::format("pull {}", out_.empty() ? "--hold" : out_);
        options.transports = arguments_.transports;
        options.budget.threads = arguments_.threads;
        options.budget.bytes_per_second = arguments_.rate;
        options.progress = [this](std::uint64_t moved, std::uint64_t total) {
            std::lock_guard lock(progress_mutex_);
            progress_.show(total > 0 ? static_cast<double>(moved) / static_cast<double>(total) : 1, fmt::format("{} of {}", show_bytes(moved), show_bytes(total)));
        };
        if (!out_.empty()) {
            options.slabs = 1;  // the partial file is all there is: the old version is on disk until the new one takes its place
            options.sink.make_slot = [this](const Layout& wanted, const Placement& place) -> Result<std::span<std::byte>> {
                WSYNC_TRY_VOID(check_room_for(wanted.manifest(), place.bytes()));
                WSYNC_TRY(auto slot, partial_.open(partial_path_, place.bytes()));
                layout_ = wanted;
                placement_ = place;
                if (!partial_.resumed()) WSYNC_TRY_VOID(preload(slot));
                return slot;
            };
        }
        return options;
    }

    // What is received and the version that is made of it, beside each other, and beside the version that is there.
    Status check_room_for(const Manifest& manifest, std::uint64_t partial_bytes) const {
        std::uint64_t need = partial_bytes + version_bytes(manifest);
        struct stat broken {};
        if (::stat(partial_path_.c_str(), &broken) == 0) need -= std::min(partial_bytes, static_cast<std::uint64_t>(broken.st_blocks) * 512);  // a pull's that broke
        return check_room(parent_of(out_), need, fmt::format("{} and what is received for it", out_));
    }

    // What the output holds of these tensors already: only what differs will be moved.
    Status preload(std::span<std::byte> slot) {
        auto checkpoint = open_checkpoint(*files_, out_);
        if (!checkpoint) return {};  // nothing there, or nothing of use
        const auto held = checkpoint->layout.shards_of(0);
        const auto shards = layout_.shards_of(0);
        for (std::size_t i = 0; i < shards.size(); ++i) {
            const auto& spec = layout_.manifest()[shards[i].tensor];
            const auto tensor = checkpoint->layout.manifest().find(spec.name);
            if (!tensor || checkpoint->layout.manifest()[*tensor] != spec) continue;
            const auto it = std::find_if(held.begin(), held.end(), [&](const Shard& shard) { return shard.tensor == *tensor; });
            if (it == held.end()) continue;
            const auto& place = checkpoint->placement.places[static_cast<std::size_t>(it - held.begin())];
            Region region;
            region.address = slot.data() + placement_.places[i].offset;
            region.bytes = spec.bytes();
            region.writable = true;
            const FileRange range{place.offset, &region, 0, region.bytes};
            WSYNC_TRY(auto digests, files_->read(checkpoint->files[place.region], std::span(&range, 1)));
            (void)digests;
        }
        return {};
    }

    [[nodiscard]] std::optional<Version> version_in_place() const {
        if (out_.empty()) return std::nullopt;
        auto stored = open_version(*files_, out_);
        if (!stored) return std::nullopt;
        return stored->manifest.version;
    }

    Status loop(Receiver& receiver) {
        const Deadline first(std::chrono::duration<double>(arguments_.timeout));
        while (interrupted_by() == 0) {
            WSYNC_TRY(auto newest, receiver.newest());
            const auto here = version_in_place();
            const bool unchanged = newest && here && newest->digest == here->digest;
            if (unchanged && !announced_unchanged_) {
                announced_unchanged_ = true;
                say_unchanged(*newest);
            }
            if (arguments_.dry_run) return newest || unchanged ? say_dry_run(newest, unchanged) : no_version();
            if (unchanged && !arguments_.watch) return {};
            if (unchanged) {
                std::this_thread::sleep_for(100ms);
                continue;
            }
            auto report = receiver.sync({.deadline = arguments_.watch && synced_ ? Deadline(1s) : first});
            if (!report) {
                if (interrupted_by() != 0 && synced_) return {};
                if (arguments_.watch && synced_ && (report.error().code == Code::timed_out || report.error().code == Code::peer_lost)) continue;
                return std::move(report).error();
            }
            WSYNC_TRY_VOID(keep(receiver, *report));
            synced_ = true;
            announced_unchanged_ = true;
            if (!arguments_.watch && !arguments_.hold) return {};
            if (!arguments_.watch) return wait_for_interrupt();
        }
        return synced_ ? Status{} : Status{Error{Code::cancelled, "interrupted before a version came", {}}};
    }

    Status keep(Receiver& receiver, const SyncReport& report) {
        progress_.clear();
        std::uint64_t written = 0;
        if (!out_.empty()) {
            const auto pin = receiver.pin();
            const auto version = pin.version();
            Region region;
            region.address = const_cast<std::byte*>(pin.tensors().size() > 0 ? pin.tensors()[0].bytes.data() - placement_.places[0].offset : nullptr);
            region.bytes = placement_.bytes();
            WriteVersionOptions write;
            write.root = stage_root_;
            write.version = version;
            write.keep = 0;
            WSYNC_TRY(write.extra_files, files_to_keep(*files_, out_));
            std::error_code failed;
            fs::remove_all(stage_root_, failed);
            fs::create_directories(stage_root_, failed);
            if (failed) return Error{Code::io_error, fmt::format("making {}: {}", stage_root_, failed.message()), {}};
            WSYNC_TRY(auto stored, write_version(*files_, write, {&layout_, &placement_, std::span(&region, 1), nullptr}));
            written = stored.bytes;
            WSYNC_TRY_VOID(put_in_place(stored.path, out_));
            fs::remove_all(stage_root_, failed);  // with it the version that was there before
        }
        if (arguments_.json) {
            Json line{{"schema", "wsync.pull/1"}, {"version", report.version}, {"out", out_}, {"unchanged", false}, {"bytes_written", written},
                      {"report", Json::parse(to_json(report, -1))}};
            fmt::print("{}\n", line.dump());
        } else {
            fmt::print("pulled {} · {} moved of {}, {} blocks were here already · {} by {} · verified: {}\n", report.version, show_bytes(report.bytes_moved),
                       show_bytes(report.bytes_needed), report.blocks_reused, show_seconds(report.seconds()), report.transport, name_of(report.verification));
            if (arguments_.stats) fmt::print("{}\n", stage_words(report.stages));
            for (const auto& note : report.notes) fmt::print("note: {}\n", note);
            if (!out_.empty()) fmt::print("{}\n", out_);
        }
        std::fflush(stdout);
        return {};
    }

    void say_unchanged(const Version& version) const {
        if (arguments_.json) {
            fmt::print("{}\n", Json{{"schema", "wsync.pull/1"}, {"version", version.label()}, {"out", out_}, {"unchanged", true}, {"bytes_written", 0}}.dump());
        } else {
            fmt::print("{} is there already: nothing moved\n", version.label());
        }
        std::fflush(stdout);
    }
    Status say_dry_run(const std::optional<Version>& newest, bool unchanged) const {
        if (!unchanged && !arguments_.json) fmt::print("would pull {} (step {}) into {}\n", newest->label(), newest->step, out_.empty() ? "memory" : out_);
        if (!unchanged && arguments_.json) {
            fmt::print("{}\n", Json{{"schema", "wsync.pull/1"}, {"version", newest->label()}, {"out", out_}, {"unchanged", false}, {"dry_run", true}}.dump());
        }
        return {};
    }
    [[nodiscard]] Error no_version() const {
        return Error{Code::not_found, fmt::format("no version of \"{}\" at {}: is it published, with the same --control?", arguments_.name, arguments_.control), {}};
    }
    Status wait_for_interrupt() const {
        if (!arguments_.json) fmt::print("held in memory; Ctrl-C ends it\n");
        std::fflush(stdout);
        while (interrupted_by() == 0) std::this_thread::sleep_for(100ms);
        return {};
    }

    const Arguments& arguments_;
    std::string out_, partial_path_, stage_root_;
    std::unique_ptr<Transport> bulk_;
    std::unique_ptr<FileSystem> files_;
    PartialFile partial_;
    Layout layout_;
    Placement placement_;
    std::mutex progress_mutex_;
    ProgressLine progress_;
    bool synced_ = false, announced_unchanged_ = false;
};

}  // namespace

void add_pull(CLI::App& command, Run& run) {
    auto arguments = std::make_shared<Arguments>();
    command.add_option("name", arguments->name, "of the weights")->required();
    command.add_option("--control", arguments->control, "dir:PATH, a folder that both sides see")->capture_default_str();
    auto* out = command.add_option("-o,--out", arguments->out, "the checkpoint's directory; replaced at once by the new version");
    auto* hold = command.add_flag("--hold", arguments->hold, "keep the version in memory until Ctrl-C")->excludes(out);
    command.add_flag("-n,--dry-run", arguments->dry_run, "say what would be pulled, move nothing");
    command.add_flag("--stats", arguments->stats, "seconds by stage");
    command.add_flag("--watch", arguments->watch, "stay, and pull each new version");
    command.add_option("--transport", arguments->transports, "shm, tcp; by preference (default: shm on one host, else tcp)")->delimiter(',')->check(CLI::IsMember({"shm", "tcp"}));
    command.add_option("--timeout", arguments->timeout, "seconds to wait for a version, and for its bytes")->check(CLI::PositiveNumber)->capture_default_str();
    command.add_option("--rate", arguments->rate, "bytes per second at most (default: no limit)")->check(CLI::NonNegativeNumber);
    command.add_option("--threads", arguments->threads, "that copy and verify")->check(CLI::Range(1, 64))->capture_default_str();
    command.add_flag("--partial", arguments->partial, "keep what was received when interrupted");
    command.add_flag("--json", arguments->json, "one JSON line a version");
    command.callback([arguments, out, hold, &run] {
        if (out->count() == 0 && hold->count() == 0 && !arguments->dry_run) throw CLI::RequiredError("--out DIR or --hold");
        run = [arguments] { return Pull(*arguments).run(); };
    });
}

}  // namespace wsync::tool
