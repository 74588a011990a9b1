// The trainer: private parameters, a training step that changes them, and a publication a step.
#include "base/parallel.hpp"
#include "measure/fleet_process.hpp"
#include "measure/synthetic_weights.hpp"
#include "memory/host_buffer.hpp"
#include "memory/memory_limit.hpp"
#include "store/checkpoint.hpp"
#include "wsync/model/placement.hpp"

#include <csignal>
#include <fmt/format.h>
#include <unistd.h>

namespace wsync {
namespace {

class Trainer {
public:
    Trainer(const FleetOptions& options, const FleetPlace& place, std::uint32_t rank) : options_(options), place_(place), rank_(rank) {}

    Status open() {
        SessionOptions session;
        session.control = place_.control;
        session.socket_directory = place_.sockets;
        session.kernels = options_.kernels;
        if (options_.prepare_trainer) options_.prepare_trainer(session, rank_);
        WSYNC_TRY(auto opened, Session::open(session));
        session_.emplace(std::move(opened));

        WSYNC_TRY(placement_, pack(options_.source, rank_));
        HostBufferOptions buffer;
        buffer.bytes = std::max<std::uint64_t>(placement_.bytes(), 1);
        buffer.prefault_threads = options_.threads;
        WSYNC_TRY(parameters_, HostBuffer::make(buffer).within("making the trainer's parameters"));
        WSYNC_TRY_VOID(options_.checkpoint.empty() ? draw() : read_checkpoint());

        PublisherOptions publisher;
        publisher.name = kFleetName;
        publisher.rank = rank_;
        publisher.world = options_.source.ranks();
        publisher.run = place_.run;
        publisher.source = options_.source;
        publisher.threads = options_.threads;
        publisher.huge_pages = options_.huge_pages;
        publisher.keep_versions = 1;  // so that the second version finds files to write over
        publisher.version_directory = place_.disk;
        WSYNC_TRY(auto made, session_->publisher(publisher));
        publisher_.emplace(std::move(made));
        return {};
    }

    Result<Json> handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "publish") return publish(message);
        if (what == "audit") return audit();
        if (what == "memory") return memory();
        return Error{Code::invalid_argument, "the trainer does not know how to " + what, {}};
    }

private:
    [[nodiscard]] std::span<std::byte> shard_bytes(std::size_t i) const {
        const auto& shard = options_.source.shards_of(rank_)[i];
        const auto dtype = options_.source.manifest()[shard.tensor].dtype;
        return parameters_->bytes().subspan(placement_.places[i].offset, shard.box.bytes(dtype));
    }

    // Each shard as a tensor of its own shape: enough for a distribution, and no rank needs another's bytes.
    Status draw() {
        const auto shards = options_.source.shards_of(rank_);
        parallel_for(shards.size(), options_.threads, [&](std::size_t i) {
            auto spec = options_.source.manifest()[shards[i].tensor];
            spec.shape = shards[i].box.size;
            fill_trained(spec, options_.seed, shard_bytes(i));
        });
        return {};
    }

    Status read_checkpoint() {
        const auto files = make_file_system(nullptr);
        WSYNC_TRY(auto checkpoint, open_checkpoint(*files, options_.checkpoint));
        const auto shards = options_.source.shards_of(rank_);
        for (std::size_t i = 0; i < shards.size(); ++i) {
            const auto& spec = options_.source.manifest()[shards[i].tensor];
            const auto tensor = checkpoint.layout.manifest().find(spec.name);
            if (!tensor || shards[i].box != Box::whole(spec.shape)) return Error{Code::invalid_argument, "a checkpoint is read by an unsharded trainer", {}};
            const auto held = checkpoint.layout.shards_of(0);
            const auto at = std::find_if(held.begin(), held.end(), [&](const Shard& shard) { return shard.tensor == *tensor; });
            const auto& where = checkpoint.placement.places[static_cast<std::size_t>(at - held.begin())];
            const auto region = HostBuffer::region(parameters_);
            const FileRange range{where.offset, &region, placement_.places[i].offset, shard_bytes(i).size()};
            WSYNC_TRY(auto digests, files->read(checkpoint.files[where.region], std::span(&range, 1)));
            (void)digests;
        }
        return check_unchanged(checkpoint);
    }

    Result<Json> publish(const Json& message) {
        const auto step = message.value("step", std::uint64_t{0});
        touch_step(parameters_->bytes().first(placement_.bytes()), step);
        const auto begin = Deadline::clock::now();
        WSYNC_TRY(auto write, publisher_->begin_write({.deadline = std::chrono::milliseconds(message.value("deadline_ms", 60'000))}));
        const auto waited = std::chrono::duration<double>(Deadline::clock::now() - begin).count();
        std::vector<Parameter> parameters;
        for (std::size_t i = 0; i < write.size(); ++i) parameters.push_back({write.shard(i).name, shard_bytes(i)});
        WSYNC_TRY_VOID(write.copy_from(parameters));
        if (message.value("die", "") == "before_publish") ::raise(SIGKILL);  // a fault that the demo and the tests ask for
        WSYNC_TRY(auto version, publisher_->publish(std::move(write), {.step = step, .save = message.value("save", false), .new_files = message.value("new_files", false)}));
        const bool last = version.digest != Digest{};  // of the ranks: it made the version visible
        return Json{{"label", last ? version.label() : ""},
                    {"number", version.number},
                    {"blocked_seconds", waited},
                    {"seconds", std::chrono::duration<double>(Deadline::clock::now() - begin).count()}};
    }

    // The peak since the last asking, over what was held then.
    Result<Json> memory() {
        auto message = memory_message(*session_);
        const auto peak = extra_bytes(*session_);
        message["extra"] = peak > held_ ? peak - held_ : 0;
        session_->reset_peak();
        held_ = extra_bytes(*session_);
        return message;
    }

    Result<Json> audit() {
        Json digests = Json::object();
        const auto shards = options_.source.shards_of(rank_);
        for (std::size_t i = 0; i < shards.size(); ++i) {
            const auto& name = options_.source.manifest()[shards[i].tensor].name;
            if (shards[i].box == Box::whole(options_.source.manifest()[shards[i].tensor].shape)) digests[name] = digest_of(shard_bytes(i)).hex();
        }
        return Json{{"digests", digests}};
    }

    const FleetOptions& options_;
    const FleetPlace& place_;
    std::uint32_t rank_;
    std::uint64_t held_ = 0;
    std::optional<Session> session_;
    std::optional<Publisher> publisher_;
    Placement placement_;
    std::shared_ptr<HostBuffer> parameters_;
};

}  // namespace

std::uint64_t extra_bytes(const Session& session) {
    std::uint64_t extra = 0;
    for (const auto& [role, bytes] : session.peak_extra_bytes())
        if (role.find("slab") == std::string::npos) extra += bytes;
    return extra;
}

Json memory_message(const Session& session) {
    Json message;
    if (auto memory = kernel_memory()) {
        message["rss_anon"] = memory->rss_anon;
        message["rss_shmem"] = memory->rss_shmem;
        message["page_tables"] = memory->page_tables;
    }
    message["ledger"] = Json::object();
    for (const auto& [role, bytes] : session.peak_extra_bytes()) message["ledger"][role] = bytes;
    return message;
}

int run_trainer(Conversation& parent, const FleetOptions& options, const FleetPlace& place, std::uint32_t rank) {
    Trainer trainer(options, place, rank);
    auto opened = trainer.open();
    if (!parent.send(opened ? Json{{"ready", true}} : error_message(opened.error())) || !opened) return 1;
    while (true) {
        auto message = parent.receive(Deadline::never());
        if (!message || message->value("do", "") == "quit") return 0;
        auto answer = trainer.handle(*message);
        if (!parent.send(answer ? *answer : error_message(answer.error()))) return 1;
    }
}

}  // namespace wsync
