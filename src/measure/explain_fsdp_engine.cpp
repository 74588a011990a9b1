// The inference engine: opens the ranks' handles and loads from one of them; or gets the shards themselves, by plan.
#include "kernels/kernel_set.hpp"
#include "measure/explain_fsdp_process.hpp"
#include "memory/host_buffer.hpp"
#include "sync/epoch.hpp"
#include "transport/shm/shm_transport.hpp"

#include <cstring>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>

namespace wsync {
namespace {

constexpr auto kPatience = std::chrono::minutes(2);

class Engine {
public:
    Engine(const ExplainFsdpOptions& options, const FsdpPlace& place) : options_(options), place_(place) {}

    Status open() {
        WSYNC_TRY(auto session, open_session(options_, place_));
        session_.emplace(std::move(session));
        WSYNC_TRY(control_, open_control(place_.control));
        HostBufferOptions own;
        own.bytes = place_.packed.bytes();
        WSYNC_TRY(own_, HostBuffer::make(own).within("making the engine's own tensors"));
        return {};
    }

    Result<Json> handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "load") return load(message);
        if (what == "release") return release(message);
        if (what == "direct") return direct();
        if (what == "audit") return audit();
        if (what == "drop") {
            opened_.clear();
            std::memset(own_->bytes().data(), 0, own_->bytes().size());  // what comes next proves itself
            return Json{{"dropped", true}};
        }
        return Error{Code::invalid_argument, "the engine does not know how to " + what, {}};
    }

private:
    // One rank's gathered tensors: the hold on them, and the handle opened.
    struct Opened {
        std::optional<Receiver> receiver;
        std::optional<StagedVersion> staged;
        std::unique_ptr<Transport> transport;
        std::unique_ptr<Channel> channel;
        Region region;
    };

    // Handles, as the coordinator passes them: hold, open, then copy out of the first one.
    Result<Json> load(const Json& message) {
        std::vector<double> open_seconds;
        for (std::uint32_t rank = 0; rank < place_.layout.ranks(); ++rank) WSYNC_TRY_VOID(hold(rank, message.value("step", std::uint64_t{0})));
        for (std::uint32_t rank = 0; rank < place_.layout.ranks(); ++rank) {
            auto& opened = opened_[rank];
            if (opened.channel) continue;  // the same handle serves every version
            const auto begin = host_time();
            WSYNC_TRY_VOID(open_handle(rank, message.at("handles").at(rank).get<std::vector<std::uint8_t>>()));
            open_seconds.push_back(static_cast<double>(host_time() - begin) * 1e-9);
        }
        const auto begin = host_time();
        const auto tensors = place_.whole.shards_of(0);
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            const auto offset = place_.packed.places[i].offset;
            const auto bytes = tensors[i].box.bytes(place_.whole.manifest()[tensors[i].tensor].dtype);
            default_kernels().copy(own_->bytes().data() + offset, opened_[0].region.address + offset, bytes);
        }
        const auto loaded = host_time();
        return Json{{"open_seconds", open_seconds}, {"load_seconds", static_cast<double>(loaded - begin) * 1e-9}, {"loaded_at", loaded}};
    }

    Status hold(std::uint32_t rank, std::uint64_t step) {
        auto& opened = opened_[rank];
        if (!opened.receiver) {
            ReceiverOptions receiver;
            receiver.name = gathered_name(rank);
            receiver.id = "the engine";
            receiver.use = Use::map_then_install;
            receiver.transports = {"shm"};
            WSYNC_TRY(auto made, session_->receiver(receiver));
            opened.receiver.emplace(std::move(made));
        }
        WSYNC_TRY(auto staged, opened.receiver->stage({.deadline = kPatience}));
        if (staged.report().step != step) return Error{Code::internal, fmt::format("rank {} offers step {} instead of {}", rank, staged.report().step, step), {}};
        opened.staged.emplace(std::move(staged));
        return {};
    }

    Status open_handle(std::uint32_t rank, const std::vector<std::uint8_t>& bytes) {
        auto& opened = opened_[rank];
        WSYNC_TRY(const auto epoch, read_epoch(*control_, gathered_name(rank)));
        ShmOptions shm;
        shm.socket_directory = place_.sockets;
        shm.secret = epoch.secret;
        WSYNC_TRY(opened.transport, make_shm_transport(std::move(shm)));
        Descriptor descriptor{"shm", {}};
        const auto* first = reinterpret_cast<const std::byte*>(bytes.data());
        descriptor.bytes.assign(first, first + bytes.size());
        WSYNC_TRY(opened.channel, opened.transport->attach(descriptor, {.deadline = kPatience}));
        WSYNC_TRY(opened.region, opened.channel->map());
        if (opened.region.bytes < place_.packed.bytes()) return Error{Code::corrupt, fmt::format("the handle of rank {} opens {} bytes", rank, opened.region.bytes), {}};
        return {};
    }

    Result<Json> release(const Json& message) {
        std::this_thread::sleep_for(std::chrono::milliseconds(message.value("after_ms", 0)));
        for (auto& [rank, opened] : opened_) opened.staged.reset();
        return Json{{"released_at", host_time()}};
    }

    // Shard to shard: every byte from the rank that owns it, into the engine's own tensors.
    Result<Json> direct() {
        if (!direct_) {
            ReceiverOptions receiver;
            receiver.name = kShardsName;
            receiver.id = "the engine";
            receiver.slabs = 1;
            receiver.sink.slots = {own_->bytes()};
            receiver.transports = {options_.transport};
            receiver.reuse_blocks = false;
            WSYNC_TRY(auto made, session_->receiver(receiver));
            direct_.emplace(std::move(made));
        }
        WSYNC_TRY(const auto report, direct_->sync({.deadline = kPatience}));
        return Json{{"loaded_at", host_time()}, {"bytes_moved", report.bytes_moved}, {"verification", name_of(report.verification)}, {"transport", report.transport}};
    }

    Result<Json> audit() {
        Json answer{{"own", digests_in_whole(place_, own_->bytes().data())}, {"handles", Json::array()}};
        for (const auto& [rank, opened] : opened_) answer["handles"].push_back(digests_in_whole(place_, opened.region.address));
        return answer;
    }

    const ExplainFsdpOptions& options_;
    const FsdpPlace& place_;
    std::optional<Session> session_;
    std::shared_ptr<Control> control_;
    std::shared_ptr<HostBuffer> own_;
    std::map<std::uint32_t, Opened> opened_;  // by rank
    std::optional<Receiver> direct_;
};

}  // namespace

int run_fsdp_engine(Conversation& parent, const ExplainFsdpOptions& options, const FsdpPlace& place) {
    Engine engine(options, place);
    return answer_parent(parent, [&] { return engine.open(); }, [&](const Json& message) { return engine.handle(message); });
}

}  // namespace wsync
