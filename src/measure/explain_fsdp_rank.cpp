// A trainer rank: holds shards, trains in place, gathers whole tensors from all ranks, offers them by a handle.
#include "measure/explain_fsdp_process.hpp"
#include "measure/synthetic_weights.hpp"
#include "sync/epoch.hpp"

#include <fmt/format.h>
#include <thread>
#include <unistd.h>

namespace wsync {
namespace {

constexpr auto kPatience = std::chrono::minutes(2);  // longer than any hold that is asked for

double seconds_between(std::int64_t begin, std::int64_t end) { return static_cast<double>(end - begin) * 1e-9; }

class Rank {
public:
    Rank(const ExplainFsdpOptions& options, const FsdpPlace& place, std::uint32_t rank) : options_(options), place_(place), rank_(rank) {}

    Status open() {
        WSYNC_TRY(auto session, open_session(options_, place_));
        session_.emplace(std::move(session));
        PublisherOptions publisher;
        publisher.name = kShardsName;
        publisher.rank = rank_;
        publisher.world = place_.layout.ranks();
        publisher.run = "explain";
        publisher.source = place_.layout;
        publisher.slabs = 1;  // the parameters themselves: training goes on in them
        publisher.huge_pages = options_.huge_pages;
        WSYNC_TRY(auto made, session_->publisher(publisher));
        shards_.emplace(std::move(made));
        return {};
    }

    Result<Json> handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "step") return step(message);
        if (what == "memory") return memory_of(*session_);
        if (what == "audit") return Json{{"digest", digest_of_shards(parameters_)}};
        if (what == "try_write") return try_write(message);
        if (what == "free") {
            whole_.reset();
            gathered_.reset();
            return Json{{"freed", true}};
        }
        return Error{Code::invalid_argument, "a rank does not know how to " + what, {}};
    }

private:
    // A training step and, where asked, the gather behind it.
    Result<Json> step(const Json& message) {
        const auto number = message.value("step", std::uint64_t{1});
        const auto begin = host_time();
        WSYNC_TRY(auto write, shards_->begin_write({.deadline = kPatience}));
        const auto written = host_time();
        if (parameters_.empty()) {
            const auto shards = place_.layout.shards_of(rank_);
            for (std::size_t i = 0; i < write.size(); ++i) {
                parameters_.push_back(write.shard(i).bytes);
                auto spec = place_.layout.manifest()[shards[i].tensor];
                spec.shape = shards[i].box.size;
                fill_trained(spec, 1, parameters_.back());
            }
        }
        for (const auto bytes : parameters_) touch_step(bytes, number);
        if (const auto late = message.value("late_ms", 0); late > 0) std::this_thread::sleep_for(std::chrono::milliseconds(late));
        WSYNC_TRY(auto version, shards_->publish(std::move(write), {.step = number}));
        (void)version;
        Json answer{{"pid", ::getpid()}, {"published_at", host_time()}, {"waited_seconds", seconds_between(begin, written)}};
        if (!message.value("gather", false)) return answer;
        answer["before"] = memory_of(*session_);
        WSYNC_TRY_VOID(gather(number, answer));
        answer["peak"] = memory_of(*session_);
        return answer;
    }

    Status gather(std::uint64_t number, Json& answer) {
        const auto begin = host_time();
        if (!gathered_) {
            PublisherOptions publisher;
            publisher.name = gathered_name(rank_);
            publisher.source = place_.whole;
            publisher.slabs = 1;
            publisher.huge_pages = options_.huge_pages;
            WSYNC_TRY(auto made, session_->publisher(publisher));
            gathered_.emplace(std::move(made));
        }
        const auto allocated = host_time();
        WSYNC_TRY(auto write, gathered_->begin_write({.deadline = kPatience}));
        const auto granted = host_time();
        if (!whole_) {
            ReceiverOptions receiver;
            receiver.name = kShardsName;
            receiver.id = fmt::format("rank {}", rank_);
            receiver.slabs = 1;
            receiver.sink.slots = {{write.shard(0).bytes.data() - place_.packed.places.front().offset, place_.packed.bytes()}};
            receiver.transports = {options_.transport};
            receiver.reuse_blocks = false;  // every step moves every byte
            WSYNC_TRY(auto made, session_->receiver(receiver));
            whole_.emplace(std::move(made));
        }
        const auto asked = host_time();
        WSYNC_TRY(const auto report, whole_->sync({.deadline = kPatience}));
        answer["gathered_at"] = host_time();
        WSYNC_TRY(auto version, gathered_->publish(std::move(write), {.step = number}));
        (void)version;
        WSYNC_TRY(const auto handle, find_handle());
        answer["handle"] = handle;
        answer["handle_at"] = host_time();
        answer["asked_at"] = asked;
        answer["allocate_seconds"] = seconds_between(begin, allocated);
        answer["hold_wait_seconds"] = seconds_between(allocated, granted);
        answer["bytes_from_others"] = report.bytes_moved - place_.layout.bytes_of(rank_);
        answer["verification"] = name_of(report.verification);
        return {};
    }

    // As the bytes that travel: the same for every version.
    Result<std::vector<std::uint8_t>> find_handle() {
        WSYNC_TRY(auto control, open_control(place_.control));
        WSYNC_TRY(const auto record, read_rank(*control, gathered_name(rank_), gathered_->epoch(), 0));
        for (const auto& descriptor : record.slabs.front()) {
            if (descriptor.transport != "shm") continue;
            const auto* bytes = reinterpret_cast<const std::uint8_t*>(descriptor.bytes.data());
            return std::vector<std::uint8_t>(bytes, bytes + descriptor.bytes.size());
        }
        return Error{Code::internal, "the gathered slab has no shm handle", {}};
    }

    // A write that can't wait: it is told who holds.
    Result<Json> try_write(const Json& message) {
        if (!gathered_) return Error{Code::internal, "nothing was gathered", {}};
        auto write = gathered_->begin_write({.deadline = std::chrono::milliseconds(message.value("deadline_ms", 50))});
        if (write) return Error{Code::internal, "gathered tensors could be written while the engine held them", {}};
        return Json{{"message", fmt::format("{}: {}", name_of(write.error().code), write.error().message)}};
    }

    const ExplainFsdpOptions& options_;
    const FsdpPlace& place_;
    std::uint32_t rank_;
    std::optional<Session> session_;
    std::optional<Publisher> shards_, gathered_;
    std::optional<Receiver> whole_;                  // receives into the gathered slab
    std::vector<std::span<std::byte>> parameters_;   // this rank's shards, in the slab
};

}  // namespace

int run_fsdp_rank(Conversation& parent, const ExplainFsdpOptions& options, const FsdpPlace& place, std::uint32_t rank) {
    Rank process(options, place, rank);
    return answer_parent(parent, [&] { return process.open(); }, [&](const Json& message) { return process.handle(message); });
}

}  // namespace wsync
