#include "measure/explain_ipc.hpp"

#include "measure/explain_ipc_process.hpp"
#include "measure/interruption.hpp"
#include "measure/scratch_folder.hpp"
#include "memory/memory_limit.hpp"
#include "wsync/model/placement.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

using namespace std::chrono_literals;

constexpr Deadline::clock::duration kAnswer = 5min;
constexpr int kRefusedWriteMilliseconds = 100;

IpcSide to_side(const Json& answer) {
    IpcSide side;
    side.pid = answer.value("pid", std::int64_t{0});
    side.page.address = answer.value("address", std::uint64_t{0});
    side.page.map_begin = answer.value("map_begin", std::uint64_t{0});
    side.page.file_offset = answer.value("file_offset", std::uint64_t{0});
    side.page.permissions = answer.value("permissions", "");
    side.page.device = answer.value("device", "");
    side.page.inode = answer.value("inode", std::uint64_t{0});
    side.page.object = answer.value("object", "");
    side.digest = answer.value("digest", "");
    if (answer.contains("frame")) side.frame = answer["frame"].get<std::uint64_t>();
    side.seals = answer.value("seals", std::vector<std::string>{});
    return side;
}

std::vector<double> seconds_in(const Json& answer) { return answer.value("seconds", std::vector<double>{}); }

class IpcRun {
public:
    explicit IpcRun(const ExplainIpcOptions& options) : options_(options) {}

    Result<IpcExplanation> run() {
        WSYNC_TRY_VOID(describe());
        WSYNC_TRY(const auto scratch, ScratchFolder::make("ipc"));
        place_.control = scratch.control();
        place_.sockets = scratch.sockets();
        tell(0.0, "two processes: an exporter and an importer");
        WSYNC_TRY(auto exporter, Child::spawn("the exporter", [&](Conversation& parent) { return run_ipc_exporter(parent, options_, place_); }));
        WSYNC_TRY(auto importer, Child::spawn("the importer", [&](Conversation& parent) { return run_ipc_importer(parent, options_, place_); }));
        for (auto* child : {&exporter, &importer}) child->give_up_when(options_.interrupted);
        WSYNC_TRY_VOID(ready(exporter));
        WSYNC_TRY_VOID(ready(importer));
        WSYNC_TRY_VOID(share(exporter, importer));
        WSYNC_TRY_VOID(write_one_page(exporter, importer));
        WSYNC_TRY_VOID(time_it(importer));
        WSYNC_TRY_VOID(meet_the_limits(exporter, importer));
        (void)importer.send({{"do", "quit"}});
        (void)importer.join(2s);
        if (!found_.verified()) return Error{Code::corrupt, "the importer does not see the exporter's bytes", {}};
        return std::move(found_);
    }

private:
    void tell(double fraction, std::string_view what) const {
        if (options_.progress) options_.progress(fraction, what);
    }
    Status check_cancelled() const { return check_interrupted(options_.interrupted, "the explanation"); }
    static Status ready(Child& child) {
        WSYNC_TRY(auto message, child.receive(kAnswer));
        (void)message;
        return {};
    }

    // What is known before anything runs: the example, and whether there is memory for it.
    Status describe() {
        const auto& manifest = options_.manifest;
        if (manifest.size() == 0 || manifest.bytes() == 0) return Error{Code::invalid_argument, "a model without weights has nothing to hand over", {}};
        const auto need = 2 * manifest.bytes() + (std::uint64_t{64} << 20);
        WSYNC_TRY_VOID(check_memory(need, "a slab and a copy of it").within("choosing a smaller model helps: --model 0.1GB"));
        for (std::uint32_t i = 0; i < manifest.size(); ++i)
            if (manifest[i].bytes() > manifest[place_.example].bytes()) place_.example = i;
        WSYNC_TRY(const auto layout, Layout::replicated(manifest, 1));
        WSYNC_TRY(const auto packed, pack(layout, 0));
        const auto shards = layout.shards_of(0);
        for (std::size_t i = 0; i < shards.size(); ++i)
            if (shards[i].tensor == place_.example) found_.tensor_offset = packed.places[i].offset;
        const auto& example = manifest[place_.example];
        found_.machine = describe_machine();
        found_.model = options_.model;
        found_.bytes = manifest.bytes();
        found_.tensors = manifest.size();
        found_.tensor = example.name;
        found_.dtype = name_of(example.dtype);
        found_.shape = example.shape;
        found_.tensor_bytes = example.bytes();
        return {};
    }

    Status share(Child& exporter, Child& importer) {
        tell(0.1, "the exporter draws its weights into one slab");
        WSYNC_TRY(const auto published, exporter.ask({{"do", "publish"}, {"step", 1}}, kAnswer));
        (void)published;
        WSYNC_TRY_VOID(check_cancelled());
        WSYNC_TRY(const auto before, exporter.ask({{"do", "holds"}}, kAnswer));
        found_.holds_before = before.value("holds", std::uint64_t{0});
        tell(0.4, "the importer opens the handle and reads every byte");
        WSYNC_TRY(const auto held, importer.ask({{"do", "hold"}}, kAnswer));
        found_.importer = to_side(held);
        found_.bytes_moved = held.value("bytes_moved", std::uint64_t{0});
        found_.importer_rss_anon_growth = held.value("rss_anon_growth", std::uint64_t{0});
        WSYNC_TRY(const auto side, exporter.ask({{"do", "side"}}, kAnswer));
        found_.exporter = to_side(side);
        WSYNC_TRY(const auto during, exporter.ask({{"do", "holds"}}, kAnswer));
        found_.holds_during = during.value("holds", std::uint64_t{0});
        WSYNC_TRY(const auto refused, exporter.ask({{"do", "try_write"}, {"deadline_ms", kRefusedWriteMilliseconds}}, kAnswer));
        found_.refused_write = fmt::format("{}: {}", refused.value("code", ""), refused.value("message", ""));
        found_.refused_after_seconds = refused.value("seconds", 0.0);
        if (found_.exporter.digest != found_.importer.digest) return Error{Code::corrupt, "the importer reads other bytes than the exporter wrote", {}};
        return check_cancelled();
    }

    Status write_one_page(Child& exporter, Child& importer) {
        tell(0.5, "one page: written by the exporter, read by the importer");
        WSYNC_TRY(const auto released, importer.ask({{"do", "release"}}, kAnswer));
        (void)released;
        WSYNC_TRY(const auto published, exporter.ask({{"do", "publish"}, {"step", 2}}, kAnswer));
        found_.written = published.value("written", "");
        const auto begin = Deadline::clock::now();
        WSYNC_TRY(const auto held, importer.ask({{"do", "hold"}}, kAnswer));
        found_.later_seconds = std::chrono::duration<double>(Deadline::clock::now() - begin).count();
        found_.read = held.value("read", "");
        const auto later = to_side(held);
        found_.same_address_later = later.page.address == found_.importer.page.address;
        found_.moved_later = held.value("bytes_moved", std::uint64_t{0});
        found_.later_rss_anon_growth = held.value("rss_anon_growth", std::uint64_t{0});
        found_.importer.digest = later.digest;
        WSYNC_TRY(const auto side, exporter.ask({{"do", "side"}}, kAnswer));
        found_.exporter.digest = to_side(side).digest;
        WSYNC_TRY(const auto dropped, importer.ask({{"do", "release"}}, kAnswer));
        (void)dropped;
        // A hold ends by a message that nobody answers: the exporter may see it a moment later.
        const auto deadline = Deadline(2s);
        do {
            WSYNC_TRY(const auto after, exporter.ask({{"do", "holds"}}, kAnswer));
            found_.holds_after = after.value("holds", std::uint64_t{0});
        } while (found_.holds_after > 0 && !deadline.expired());
        return check_cancelled();
    }

    Status time_it(Child& importer) {
        tell(0.6, "opening the handle again and again");
        WSYNC_TRY(const auto opened, importer.ask({{"do", "open"}}, kAnswer));
        found_.open_seconds = spread_of(seconds_in(opened));
        found_.handle_bytes = opened.value("handle_bytes", std::uint64_t{0});
        found_.handles = opened.value("handles", std::uint64_t{0});
        found_.kind = opened.value("kind", "");
        found_.host = opened.value("host", "");
        found_.boot_id = opened.value("boot_id", "");
        found_.slab_bytes = opened.value("slab_bytes", std::uint64_t{0});
        WSYNC_TRY_VOID(check_cancelled());
        tell(0.7, "the same bytes, copied");
        WSYNC_TRY(const auto copied, importer.ask({{"do", "copy"}}, kAnswer));
        found_.copy_seconds = spread_of(seconds_in(copied));
        found_.copied_bytes = copied.value("bytes", std::uint64_t{0});
        return check_cancelled();
    }

    Status meet_the_limits(Child& exporter, Child& importer) {
        tell(0.9, "where a handle does not work");
        WSYNC_TRY(const auto elsewhere, importer.ask({{"do", "refusal"}, {"of", "other_host"}}, kAnswer));
        found_.other_host = elsewhere.value("message", "");
        (void)exporter.send({{"do", "quit"}});
        WSYNC_TRY(const auto status, exporter.join(10s));
        if (status != 0) return Error{Code::internal, fmt::format("the exporter ended with status {}", status), {}};
        WSYNC_TRY(const auto gone, importer.ask({{"do", "refusal"}, {"of", "gone"}}, kAnswer));
        found_.gone = gone.value("message", "");
        return {};
    }

    const ExplainIpcOptions& options_;
    IpcPlace place_;
    IpcExplanation found_;
};

Json to_json(const IpcSide& side) {
    Json json{{"pid", side.pid}, {"address", fmt::format("{:#x}", side.page.address)}, {"permissions", side.page.permissions}};
    json.update({{"device", side.page.device}, {"inode", side.page.inode}, {"offset", side.page.file_offset}, {"object", side.page.object}});
    json.update({{"frame", side.frame ? Json(*side.frame) : Json(nullptr)}, {"seals", side.seals}, {"digest", side.digest}});
    return json;
}

Json to_json(const Spread& spread) { return {{"min", spread.min}, {"median", spread.median}, {"max", spread.max}}; }

}  // namespace

bool IpcExplanation::same_object() const {
    return exporter.page.inode != 0 && exporter.page.inode == importer.page.inode && exporter.page.device == importer.page.device &&
           exporter.page.file_offset == importer.page.file_offset;
}

std::uint64_t IpcExplanation::weight_bytes_moved() const { return bytes_moved > handle_bytes ? bytes_moved - handle_bytes : 0; }

std::optional<bool> IpcExplanation::same_frame() const {
    if (!exporter.frame || !importer.frame) return std::nullopt;
    return *exporter.frame == *importer.frame;
}

bool IpcExplanation::verified() const { return same_object() && same_frame().value_or(true) && exporter.digest == importer.digest && written == read; }

Result<IpcExplanation> explain_ipc(const ExplainIpcOptions& options) { return IpcRun(options).run(); }

Json to_json(const IpcExplanation& found) {
    Json shape = Json::array();
    for (const auto extent : found.shape) shape.push_back(extent);
    Json json{{"schema", "wsync.explain_ipc/1"}, {"machine", found.machine}};
    json["model"] = {{"name", found.model}, {"bytes", found.bytes}, {"tensors", found.tensors}};
    json["handle"] = {{"kind", found.kind}, {"host", found.host}, {"boot_id", found.boot_id}, {"bytes", found.handle_bytes}, {"handles", found.handles}};
    json["handle"]["slab_bytes"] = found.slab_bytes;
    json["example"] = {{"tensor", found.tensor}, {"dtype", found.dtype}, {"shape", shape}, {"offset", found.tensor_offset}, {"bytes", found.tensor_bytes}};
    json["exporter"] = to_json(found.exporter);
    json["importer"] = to_json(found.importer);
    const auto frame = found.same_frame();
    json["page"] = {{"written", found.written}, {"read", found.read}, {"same_object", found.same_object()}, {"same_frame", frame ? Json(*frame) : Json(nullptr)}};
    json["holds"] = {{"before", found.holds_before}, {"during", found.holds_during}, {"after", found.holds_after}, {"refused_write", found.refused_write}};
    json["holds"]["refused_after_seconds"] = found.refused_after_seconds;
    json["open_seconds"] = to_json(found.open_seconds);
    json["bytes_moved"] = {{"handle", found.bytes_moved}, {"weights", found.weight_bytes_moved()}, {"importer_rss_anon_growth", found.importer_rss_anon_growth}};
    json["next_version"] = {{"same_address", found.same_address_later}, {"bytes_moved", found.moved_later}, {"seconds", found.later_seconds}};
    json["next_version"]["importer_rss_anon_growth"] = found.later_rss_anon_growth;
    json["copy"] = {{"bytes", found.copied_bytes}, {"seconds", to_json(found.copy_seconds)}};
    json["limits"] = {{"other_host", found.other_host}, {"exporter_gone", found.gone}};
    json["verified"] = found.verified();
    return json;
}

}  // namespace wsync
