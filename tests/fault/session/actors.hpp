// A trainer and receivers, each a process of its own that does what the test tells it, and dies when the test says so.
//
// The test's process has one thread and no session, so that it may fork at any time. Every byte of the weights is a
// function of tensor, position and a value, so that a mixture of two versions is seen.
#pragma once

#include "measure/child.hpp"
#include "result_matchers.hpp"
#include "scratch_folder.hpp"
#include "weights.hpp"

#include <dirent.h>
#include <functional>
#include <optional>

namespace wsync::testing {

using namespace std::chrono_literals;

// How long a test waits for what must come: not what is measured, only the end of all patience.
inline constexpr auto kPatience = 20s;

// Where the processes of one test meet. A control folder in memory: an fsync there costs nothing.
struct Place {
    TemporaryDirectory scratch{memory_folder()};
    std::string control = "dir:" + scratch.path() + "/control";
    std::string sockets = scratch.path() + "/s";
    std::string versions = scratch.path() + "/versions";
};

struct TrainerSetup {
    std::function<void(PublisherOptions&)> publisher;  // changes what is not as the test wants it
    std::function<void(SessionOptions&)> session;
};
struct ReceiverSetup {
    Use use = Use::copy;
    std::string transport = "shm";
    std::function<void(ReceiverOptions&)> receiver;
    std::function<void(SessionOptions&)> session;
};

class Trainer {
public:
    // Opens its publisher at the first message.
    explicit Trainer(const Place& place, TrainerSetup setup = {});
    [[nodiscard]] Status open(std::optional<int> dies_after_us = {});
    // begin_write, the weights of `value`, publish. Answers the version's label.
    [[nodiscard]] Result<std::string> step(std::uint64_t value, std::uint64_t step, const Json& more = {});
    [[nodiscard]] Result<Json> ask(const Json& message);
    [[nodiscard]] std::uint64_t holds() { return ask({{"do", "holds"}}).value()["holds"].get<std::uint64_t>(); }
    // {"descriptors", "threads", "holds"}
    [[nodiscard]] Json resources() { return ask({{"do", "resources"}}).value(); }
    // The same, once it is `wanted`, or when all patience has ended: the threads that served the dead need a moment.
    [[nodiscard]] Json resources_settled(const Json& wanted);
    [[nodiscard]] Child& process() { return child_; }

private:
    Child child_;
};

class ReceiverProcess {
public:
    explicit ReceiverProcess(const Place& place, ReceiverSetup setup = {});
    // Answers {"version", "step", "verification", "notes"}.
    [[nodiscard]] Result<Json> sync(std::chrono::milliseconds deadline = 10s, const Json& more = {});
    void begin_sync(std::chrono::milliseconds deadline, const Json& more = {});
    [[nodiscard]] Result<Json> answer() { return child_.receive(kPatience); }
    [[nodiscard]] Result<Json> ask(const Json& message) { return child_.ask(message, kPatience); }
    // The active version's label once every byte was compared with `value`; "" when nothing is active.
    [[nodiscard]] Result<std::string> serves(std::uint64_t value);
    [[nodiscard]] Status health();
    [[nodiscard]] Child& process() { return child_; }

private:
    Child child_;
};

// The trainer opens and publishes its first version, value 1, and each receiver takes it.
[[nodiscard]] Status start(Trainer& trainer, std::initializer_list<ReceiverProcess*> receivers);

// Sends the process on its way to death: SIGKILL after so many microseconds, from the kernel's own timer.
void die_after(std::chrono::microseconds delay);
// Names in a directory, sorted; nothing when it is not there.
[[nodiscard]] std::vector<std::string> names_in(const std::string& path);
// The files that a place holds, of each kind, whatever the numbers in their names: {"sockets", "versions", "control": {NAME: how many}}.
[[nodiscard]] Json files_now(const Place& place);
// The same, once it is `wanted` (null: once it does not change any more), or when all patience has ended: what is retired goes behind
// the trainer's back.
[[nodiscard]] Json files_settled(const Place& place, const Json& wanted);
// What /dev/shm has of wsync's, without the folders of tests: no more than before, whatever was done.
[[nodiscard]] std::vector<std::string> shared_names();

}  // namespace wsync::testing
