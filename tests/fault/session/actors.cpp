#include "actors.hpp"

#include "wsync/model/placement.hpp"

#include <algorithm>
#include <cctype>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace wsync::testing {
namespace {

Json say(const Status& status) { return status ? Json::object() : error_message(status.error()); }

std::size_t count_in(const std::string& path) { return names_in(path).size(); }

Result<Session> open_session(const Place& place, const std::function<void(SessionOptions&)>& change) {
    SessionOptions options;
    options.control = place.control;
    options.socket_directory = place.sockets;
    if (change) change(options);
    return Session::open(options);
}

class TrainerBody {
public:
    TrainerBody(const Place& place, const TrainerSetup& setup) : place_(place), setup_(setup) {}

    Json handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "open") return say(open());
        if (what == "step") return step(message);
        if (what == "begin") return say(begin(message));
        if (what == "fill") return say(fill(message.value("value", std::uint64_t{0})));
        if (what == "publish") return publish(message);
        if (what == "limit") return limit(message.value("bytes", std::uint64_t{0}));
        if (what == "repeat") return say(repeat(message.value("count", 0)));
        if (what == "scribble") return say(scribble(message.value("tensor", "")));
        if (what == "holds") return {{"holds", publisher_->holds()}};
        if (what == "resources") return {{"descriptors", count_in("/proc/self/fd")}, {"threads", count_in("/proc/self/task")}, {"holds", publisher_->holds()}};
        return error_message({Code::invalid_argument, "what is " + what, {}});
    }

private:
    Status open() {
        WSYNC_TRY(auto opened, open_session(place_, setup_.session));
        session_.emplace(std::move(opened));
        PublisherOptions options;
        options.name = "policy";
        options.source = layout_;
        options.huge_pages = false;
        if (setup_.publisher) setup_.publisher(options);
        WSYNC_TRY(auto publisher, session_->publisher(options));
        publisher_.emplace(std::move(publisher));
        return {};
    }
    Status begin(const Json& message) {
        BeginWriteOptions options;
        options.deadline = std::chrono::milliseconds(message.value("deadline_ms", 10'000));
        options.revoke = message.value("revoke", false);
        WSYNC_TRY(auto write, publisher_->begin_write(options));
        write_.emplace(std::move(write));
        return {};
    }
    Status fill(std::uint64_t value) {
        for (std::size_t i = 0; i < write_->size(); ++i) {
            const auto shard = write_->shard(i);
            WSYNC_TRY_VOID(write_->copy(i, box_bytes(layout_.manifest()[*layout_.manifest().find(shard.name)], shard.box, value)));
            slab_[std::string(shard.name)] = shard.bytes.data();
        }
        return {};
    }
    Json publish(const Json& message) {
        PublishOptions options;
        options.step = message.value("step", std::uint64_t{0});
        options.save = message.value("save", true);
        auto version = publisher_->publish(*std::move(write_), options);
        write_.reset();
        if (!version) return error_message(version.error());
        return {{"version", version->label()}, {"epoch", version->epoch}};
    }
    Json step(const Json& message) {
        if (auto begun = begin(message); !begun) return error_message(begun.error());
        if (auto filled = fill(message.value("value", std::uint64_t{0})); !filled) return error_message(filled.error());
        return publish(message);
    }
    // No file may be larger: what a full disk looks like where no small one can be mounted.
    static Json limit(std::uint64_t bytes) {
        ::signal(SIGXFSZ, SIG_IGN);
        rlimit now{};
        if (::getrlimit(RLIMIT_FSIZE, &now) != 0) return error_message(errno_error(errno, "asking for a limit"));
        now.rlim_cur = bytes == 0 ? now.rlim_max : bytes;
        if (::setrlimit(RLIMIT_FSIZE, &now) != 0) return error_message(errno_error(errno, "setting a limit"));
        return Json::object();
    }
    // Versions whose bytes don't change, as quickly as it goes.
    Status repeat(int count) {
        for (int i = 0; i < count; ++i) {
            WSYNC_TRY(auto write, publisher_->begin_write());
            WSYNC_TRY(auto version, publisher_->publish(std::move(write), {.step = 7}));
            (void)version;
        }
        return {};
    }
    // What a trainer must not do: write into what it has published.
    Status scribble(const std::string& tensor) {
        *slab_[tensor] ^= std::byte{0x11};
        return {};
    }

    const Place& place_;
    const TrainerSetup& setup_;
    const Layout layout_ = Layout::replicated(small_model()).value();
    std::optional<Session> session_;
    std::optional<Publisher> publisher_;
    std::optional<Write> write_;
    std::map<std::string, std::byte*> slab_;
};

// For the signal's handler.
Receiver* interrupted = nullptr;

class ReceiverBody {
public:
    ReceiverBody(const Place& place, const ReceiverSetup& setup) : place_(place), setup_(setup) {}

    Json handle(const Json& message) {
        const auto what = message.value("do", "");
        if (!receiver_) {
            if (auto opened = open(); !opened) return error_message(opened.error());
        }
        if (what == "sync") return sync(message);
        if (what == "stage") return stage(message);
        if (what == "activate") return activate();
        if (what == "serves") return serves(message.value("value", std::uint64_t{0}));
        if (what == "health") return say(receiver_->health());
        if (what == "resources") return {{"descriptors", count_in("/proc/self/fd")}, {"threads", count_in("/proc/self/task")}};
        if (what == "fork") return leave_a_child();
        return error_message({Code::invalid_argument, "what is " + what, {}});
    }

private:
    Status open() {
        WSYNC_TRY(auto opened, open_session(place_, setup_.session));
        session_.emplace(std::move(opened));
        ReceiverOptions options;
        options.name = "policy";
        options.id = fmt::format("engine-{}", ::getpid());
        options.use = setup_.use;
        options.transports = {setup_.transport};
        options.huge_pages = false;
        if (setup_.receiver) setup_.receiver(options);
        WSYNC_TRY(auto receiver, session_->receiver(options));
        receiver_.emplace(std::move(receiver));
        interrupted = &*receiver_;
        ::signal(SIGUSR1, [](int) { interrupted->interrupt(); });
        return {};
    }
    static Json show(const SyncReport& report) {
        return {{"version", report.version}, {"step", report.step}, {"verification", name_of(report.verification)}, {"notes", report.notes},
                {"transport", report.transport}};
    }
    static StageOptions until(const Json& message) { return {.deadline = std::chrono::milliseconds(message.value("deadline_ms", 10'000))}; }
    Json sync(const Json& message) {
        auto report = receiver_->sync(until(message));
        return report ? show(*report) : error_message(report.error());
    }
    Json stage(const Json& message) {
        auto staged = receiver_->stage(until(message));
        if (!staged) return error_message(staged.error());
        staged_.emplace(*std::move(staged));
        return show(staged_->report());
    }
    Json activate() {
        auto report = receiver_->activate(*std::move(staged_));
        staged_.reset();
        return report ? show(*report) : error_message(report.error());
    }
    Json serves(std::uint64_t value) {
        const auto pin = receiver_->pin();
        if (!pin) return {{"version", ""}};
        const auto held = holds_version(pin.tensors(), model_, value, model_.size() - 1);
        if (!held) return error_message({Code::corrupt, fmt::format("{} serves other bytes than those of {}: {}", pin.version().label(), value, held.message()), {}});
        return {{"version", pin.version().label()}};
    }
    // A child with copies of every descriptor, as an engine's worker has them. It ends by itself, should nobody end it.
    static Json leave_a_child() {
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::alarm(60);
            while (true) ::pause();
        }
        return {{"pid", pid}};
    }

    const Place& place_;
    const ReceiverSetup& setup_;
    const Manifest model_ = small_model();
    std::optional<Session> session_;
    std::optional<Receiver> receiver_;
    std::optional<StagedVersion> staged_;
};

template <class Body, class Setup>
Child spawn(const std::string& name, const Place& place, const Setup& setup) {
    return Child::spawn(name, [&](Conversation& test) {
               Body body(place, setup);
               while (true) {
                   auto message = test.receive(Deadline::never());
                   if (!message || message->value("do", "") == "quit") return 0;
                   if (message->contains("die_us")) die_after(std::chrono::microseconds(message->value("die_us", 0)));
                   if (!test.send(body.handle(*message))) return 1;
               }
           })
        .value();
}

}  // namespace

Trainer::Trainer(const Place& place, TrainerSetup setup) : child_(spawn<TrainerBody>("the trainer", place, setup)) {}

Result<Json> Trainer::ask(const Json& message) { return child_.ask(message, kPatience); }

Status Trainer::open(std::optional<int> dies_after_us) {
    Json message{{"do", "open"}};
    if (dies_after_us) message["die_us"] = *dies_after_us;
    auto opened = ask(message);
    return opened ? Status{} : Status{std::move(opened).error()};
}

Result<std::string> Trainer::step(std::uint64_t value, std::uint64_t step, const Json& more) {
    Json message{{"do", "step"}, {"value", value}, {"step", step}};
    if (more.is_object()) message.update(more);
    WSYNC_TRY(auto answer, ask(message));
    return answer.value("version", "");
}

Json Trainer::resources_settled(const Json& wanted) {
    Json found;
    for (const Deadline patience(kPatience); found != wanted && !patience.expired();) {
        found = resources();
        if (found != wanted) std::this_thread::sleep_for(5ms);
    }
    return found;
}

ReceiverProcess::ReceiverProcess(const Place& place, ReceiverSetup setup) : child_(spawn<ReceiverBody>("a receiver", place, setup)) {}

void ReceiverProcess::begin_sync(std::chrono::milliseconds deadline, const Json& more) {
    Json message{{"do", "sync"}, {"deadline_ms", deadline.count()}};
    if (more.is_object()) message.update(more);
    (void)child_.send(message);
}

Result<Json> ReceiverProcess::sync(std::chrono::milliseconds deadline, const Json& more) {
    begin_sync(deadline, more);
    return answer();
}

Result<std::string> ReceiverProcess::serves(std::uint64_t value) {
    WSYNC_TRY(auto answer, ask({{"do", "serves"}, {"value", value}}));
    return answer.value("version", "");
}

Status ReceiverProcess::health() {
    auto answer = ask({{"do", "health"}});
    return answer ? Status{} : Status{std::move(answer).error()};
}

Status start(Trainer& trainer, std::initializer_list<ReceiverProcess*> receivers) {
    WSYNC_TRY_VOID(trainer.open());
    WSYNC_TRY(const auto version, trainer.step(1, 1));
    for (auto* receiver : receivers) {
        WSYNC_TRY(const auto answer, receiver->sync());
        if (answer.value("version", "") != version) return Error{Code::invalid_argument, "a receiver has " + answer.dump() + " instead of " + version, {}};
    }
    return {};
}

void die_after(std::chrono::microseconds delay) {
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGKILL;
    timer_t timer{};
    if (::timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) ::_exit(99);
    const auto nanoseconds = std::max<std::int64_t>(std::chrono::nanoseconds(delay).count(), 1);
    itimerspec when{};
    when.it_value = {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    if (::timer_settime(timer, 0, &when, nullptr) != 0) ::_exit(99);
}

std::vector<std::string> names_in(const std::string& path) {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

Json files_now(const Place& place) {
    auto sockets = names_in(place.sockets);
    std::erase_if(sockets, [](const std::string& name) { return name.front() == '.'; });  // whose trainer died as it began to listen
    std::map<std::string, int> control;
    const std::string folder = place.control.substr(4);
    std::error_code gone;
    for (std::filesystem::recursive_directory_iterator at(folder, gone), end; !gone && at != end; at.increment(gone)) {
        auto name = std::filesystem::relative(at->path(), folder).string();
        if (name.starts_with("locks/")) continue;  // one of 64, whoever uses it
        if (name.starts_with("leases/")) name = "leases/#";
        for (std::size_t i = 0; i + 1 < name.size(); ++i) {
            if (name[i] != '/' || (name[i + 1] != 'e' && name[i + 1] != 'v')) continue;
            auto digits = i + 2;
            while (digits < name.size() && std::isdigit(static_cast<unsigned char>(name[digits]))) ++digits;
            if (digits > i + 2) name.replace(i + 2, digits - i - 2, "#");
        }
        ++control[name];
    }
    return {{"sockets", sockets.size()}, {"versions", names_in(place.versions + "/policy").size()}, {"control", control}};
}

Json files_settled(const Place& place, const Json& wanted) {
    Json found = files_now(place);
    int as_before = 0;
    for (const Deadline patience(kPatience); !patience.expired() && (wanted.is_null() ? as_before < 20 : found != wanted);) {
        std::this_thread::sleep_for(10ms);
        auto next = files_now(place);
        as_before = next == found ? as_before + 1 : 0;
        found = std::move(next);
    }
    return found;
}

std::vector<std::string> shared_names() {
    auto names = names_in("/dev/shm");
    std::erase_if(names, [](const std::string& name) { return name.find("wsync") == std::string::npos || name.starts_with("wsync-test-"); });
    return names;
}

}  // namespace wsync::testing
