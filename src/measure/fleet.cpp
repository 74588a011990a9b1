#include "measure/fleet.hpp"

#include "measure/fleet_process.hpp"
#include "memory/memory_limit.hpp"
#include "store/directory_check.hpp"
#include "store/version_reader.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

constexpr auto kStartTime = std::chrono::minutes(5);

Stage stage_from_name(std::string_view name) {
    for (int i = 0; i < kStageCount; ++i)
        if (name_of(static_cast<Stage>(i)) == name) return static_cast<Stage>(i);
    return Stage::move;
}

Synced to_synced(const Json& answer) {
    Synced synced;
    synced.version = answer.value("version", "");
    synced.method = answer.value("method", "");
    synced.transport = answer.value("transport", "");
    synced.verification = answer.value("verification", "");
    synced.first = answer.value("first", false);
    synced.bytes_needed = answer.value("bytes_needed", std::uint64_t{0});
    synced.bytes_moved = answer.value("bytes_moved", std::uint64_t{0});
    synced.peak_extra_bytes = answer.value("extra", std::uint64_t{0});
    synced.rss_growth_bytes = answer.value("rss_growth", std::uint64_t{0});
    for (const auto& [name, seconds] : answer["stages"].items()) synced.stages[stage_from_name(name)] = seconds.get<double>();
    return synced;
}

ProcessMemory to_memory(const Json& answer) {
    ProcessMemory memory;
    memory.rss_anon = answer.value("rss_anon", std::uint64_t{0});
    memory.rss_shmem = answer.value("rss_shmem", std::uint64_t{0});
    memory.page_tables = answer.value("page_tables", std::uint64_t{0});
    for (const auto& [role, bytes] : answer["ledger"].items()) {
        if (role.find("slab") != std::string::npos) memory.slab_bytes += bytes.get<std::uint64_t>();
    }
    memory.extra_bytes = answer.value("extra", std::uint64_t{0});
    memory.slab_bytes += answer.value("slots", std::uint64_t{0});
    return memory;
}

bool copies(const std::string& method) { return method != "shm_map"; }

}  // namespace

std::uint64_t memory_need(const FleetOptions& options) {
    const auto bytes = options.source.manifest().bytes();
    const bool copying = std::any_of(options.methods.begin(), options.methods.end(), copies);
    std::uint64_t trainers = 0;
    for (std::uint32_t r = 0; r < options.source.ranks(); ++r) trainers += 3 * options.source.bytes_of(r);  // parameters, slab, spare slab
    return trainers + (copying ? 2 * bytes * options.receivers : 0) + (std::uint64_t{64} << 20) * (options.receivers + options.source.ranks());
}

Result<std::unique_ptr<Fleet>> Fleet::start(FleetOptions options) {
    const auto need = memory_need(options);
    WSYNC_TRY_VOID(check_memory(need, fmt::format("{} trainer process(es) with parameters and two slabs, {} receiver(s) with two", options.source.ranks(), options.receivers))
                       .within("starting the fleet: choose a smaller model, fewer receivers, or shm_map alone"));
    std::unique_ptr<Fleet> fleet(new Fleet(std::move(options)));
    WSYNC_TRY(fleet->scratch_, ScratchFolder::make("fleet"));
    if (!fleet->options_.disk_directory.empty()) {
        // Two versions, and the retired one that the next is written over.
        WSYNC_TRY_VOID(check_room(fleet->options_.disk_directory, 3 * version_bytes(fleet->options_.source.manifest()), "the versions of the disk method")
                           .within("starting the fleet: choose a smaller model, another --dir, or methods without disk"));
        WSYNC_TRY(fleet->disk_, ScratchFolder::make("fleet", fleet->options_.disk_directory));
    }
    WSYNC_TRY_VOID(fleet->start_trainers());
    WSYNC_TRY_VOID(fleet->start_receivers());
    return fleet;
}

Fleet::~Fleet() {
    if (options_.interrupted == nullptr || !*options_.interrupted) {
        for (auto& child : receivers_) (void)child.send({{"do", "quit"}});
        for (auto& child : receivers_) (void)child.join(std::chrono::seconds(2));
        for (auto& child : trainers_) (void)child.send({{"do", "quit"}});
        for (auto& child : trainers_) (void)child.join(std::chrono::seconds(5));
    }
    receivers_.clear();
    trainers_.clear();
}

FleetPlace Fleet::place_of(std::string run) const { return {scratch_->control(), scratch_->sockets(), disk_ ? disk_->path() : std::string(), std::move(run)}; }

Status Fleet::start_trainers() {
    trainers_.clear();
    const auto place = place_of(fmt::format("run-{}", ++run_));
    for (std::uint32_t rank = 0; rank < options_.source.ranks(); ++rank) {
        WSYNC_TRY(auto child, Child::spawn(fmt::format("trainer {}", rank), [&](Conversation& parent) { return run_trainer(parent, options_, place, rank); }));
        child.give_up_when(options_.interrupted);
        trainers_.push_back(std::move(child));
    }
    for (auto& trainer : trainers_) {
        if (options_.progress) options_.progress(0, "the trainer draws its weights");
        WSYNC_TRY(auto ready, trainer.receive(kStartTime));
        (void)ready;
    }
    return {};
}

Status Fleet::restart_trainer() { return start_trainers(); }

Status Fleet::start_receivers() {
    const auto place = place_of("");
    for (unsigned i = 0; i < options_.receivers; ++i) {
        WSYNC_TRY(auto child, Child::spawn(fmt::format("receiver {}", i + 1), [&](Conversation& parent) { return run_receiver(parent, options_, place, i); }));
        child.give_up_when(options_.interrupted);
        receivers_.push_back(std::move(child));
    }
    for (auto& receiver : receivers_) {
        if (options_.progress) options_.progress(0, "the receivers touch their memory");
        WSYNC_TRY(auto ready, receiver.receive(kStartTime));
        (void)ready;
    }
    return {};
}

Result<Published> Fleet::publish(std::uint64_t step, Save save, Deadline deadline) {
    for (auto& trainer : trainers_) {
        WSYNC_TRY_VOID(trainer.send({{"do", "publish"}, {"step", step}, {"save", save != Save::no}, {"new_files", save == Save::new_files}}));
    }
    Published published;
    for (auto& trainer : trainers_) {
        WSYNC_TRY(auto answer, trainer.receive(deadline));
        if (const auto label = answer.value("label", ""); !label.empty()) published.label = label;
        published.number = answer.value("number", std::uint64_t{0});
        published.seconds = std::max(published.seconds, answer.value("seconds", 0.0));
        published.blocked_seconds = std::max(published.blocked_seconds, answer.value("blocked_seconds", 0.0));
    }
    return published;
}

Result<std::vector<Synced>> Fleet::sync(const std::string& method, Deadline deadline) {
    std::vector<Synced> all(receivers_.size());
    std::vector<bool> asked(receivers_.size());
    const auto answer_by = deadline.when().value_or(Deadline::clock::now()) + std::chrono::seconds(30);
    for (std::size_t i = 0; i < receivers_.size(); ++i) {
        auto sent = receivers_[i].send({{"do", "sync"}, {"method", method}, {"deadline_ms", deadline.poll_milliseconds()}});
        asked[i] = sent.has_value();
        if (!sent) all[i].error = std::move(sent).error();
    }
    for (std::size_t i = 0; i < receivers_.size(); ++i) {
        if (!asked[i]) continue;
        // The receiver's own deadline comes first; an answer that we did not wait for would be taken for the next one's.
        auto answer = receivers_[i].receive(Deadline::at(answer_by));
        if (answer) {
            all[i] = to_synced(*answer);
        } else {
            all[i].error = std::move(answer).error();
        }
    }
    return all;
}

Result<FirstMap> Fleet::map_anew(Deadline deadline) {
    FirstMap slowest;
    for (auto& receiver : receivers_) {
        WSYNC_TRY(const auto answer, receiver.ask({{"do", "map_anew"}, {"method", "shm_map"}}, deadline));
        slowest.whole_seconds = std::max(slowest.whole_seconds, answer.value("whole", 0.0));
        slowest.hand_over_seconds = std::max(slowest.hand_over_seconds, answer.value("hand_over", 0.0));
        slowest.populate_seconds = std::max(slowest.populate_seconds, answer.value("populate", 0.0));
        slowest.bytes = answer.value("bytes", std::uint64_t{0});
    }
    return slowest;
}

Status Fleet::warm_files() const {
    if (!disk_) return Error{Code::invalid_argument, "this fleet writes nothing to disk", {}};
    const auto files = make_file_system(nullptr);
    WSYNC_TRY(const auto versions, list_versions(*files, disk_->path(), std::string(kFleetName)));
    if (versions.empty()) return Error{Code::not_found, "no version was written to " + disk_->path(), {}};
    std::vector<char> buffer(1 << 20);
    for (const auto& entry : std::filesystem::directory_iterator(versions.back().path)) {
        const UniqueFd fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd) return errno_error(errno, "opening " + entry.path().string());
        ssize_t n = 0;
        while ((n = ::read(fd.get(), buffer.data(), buffer.size())) > 0 || (n < 0 && errno == EINTR)) {}
        if (n < 0) return errno_error(errno, "reading " + entry.path().string());
    }
    return {};
}

Status Fleet::audit(const std::string& method) {
    Json expected = Json::object();
    for (auto& trainer : trainers_) {
        WSYNC_TRY(auto answer, trainer.ask({{"do", "audit"}}, std::chrono::minutes(2)));
        expected.update(answer["digests"]);
    }
    for (auto& receiver : receivers_) WSYNC_TRY_VOID(receiver.send({{"do", "audit"}, {"method", method}}));
    std::optional<Error> wrong;
    for (auto& receiver : receivers_) {
        WSYNC_TRY(auto answer, receiver.receive(std::chrono::minutes(2)));
        for (const auto& [name, digest] : expected.items()) {
            if (answer["digests"].value(name, "") == digest.get<std::string>()) continue;
            if (!wrong) wrong = Error{Code::corrupt, fmt::format("{} holds other bytes in {} than the trainer ({})", receiver.name(), name, method), {}};
        }
    }
    if (wrong) return *std::move(wrong);
    return {};
}

Result<ProcessMemory> Fleet::trainer_memory() {
    WSYNC_TRY(auto answer, trainers_.front().ask({{"do", "memory"}}, std::chrono::seconds(30)));
    return to_memory(answer);
}

Result<ProcessMemory> Fleet::receiver_memory(unsigned index) {
    WSYNC_TRY(auto answer, receivers_[index].ask({{"do", "memory"}}, std::chrono::seconds(30)));
    return to_memory(answer);
}

}  // namespace wsync
