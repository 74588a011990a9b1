// A process of its own that talks to its parent in JSON messages: the trainers and receivers of bench, demo and explain.
//
// The child is forked while the parent has one thread, runs `body`, and exits with what that returned. It dies with its
// parent. The parent sees its death at once (pidfd), and destroying the Child kills and reaps it: nothing stays behind.
#pragma once

#include "wsync/base/deadline.hpp"
#include "wsync/base/result.hpp"
#include "wsync/base/unique_fd.hpp"

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <sys/types.h>

namespace wsync {

using Json = nlohmann::ordered_json;

// One end of the conversation. Not thread-safe.
class Conversation {
public:
    explicit Conversation(UniqueFd socket) : socket_(std::move(socket)) {}
    [[nodiscard]] Status send(const Json& message);
    // Error{peer_lost} when the other side has gone, {timed_out} at the deadline.
    [[nodiscard]] Result<Json> receive(Deadline deadline);
    [[nodiscard]] int fd() const { return socket_.get(); }

private:
    [[nodiscard]] Status receive_exactly(std::span<char> bytes, Deadline deadline);
    UniqueFd socket_;
};

class Child {
public:
    using Body = std::function<int(Conversation&)>;
    [[nodiscard]] static Result<Child> spawn(std::string name, const Body& body);
    ~Child();
    Child(Child&& other) noexcept;
    Child& operator=(Child&& other) noexcept;

    [[nodiscard]] Status send(const Json& message);
    // The child's answer; a message {"error": {"code", "message"}} comes back as that Error.
    [[nodiscard]] Result<Json> receive(Deadline deadline);
    // send, then receive.
    [[nodiscard]] Result<Json> ask(const Json& message, Deadline deadline);
    // From then on receive() answers Error{cancelled} once `*flag` is true. Borrowed; null: never.
    void give_up_when(const std::atomic<bool>* flag) noexcept { flag_ = flag; }
    void signal(int number) noexcept;
    // Waits for its end: the exit status, or 128 + the signal that killed it.
    [[nodiscard]] Result<int> join(Deadline deadline);
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] pid_t pid() const { return pid_; }

private:
    Child(std::string name, pid_t pid, UniqueFd pidfd, UniqueFd socket)
        : name_(std::move(name)), pid_(pid), pidfd_(std::move(pidfd)), conversation_(std::move(socket)) {}
    std::string name_;
    pid_t pid_ = -1;
    UniqueFd pidfd_;
    Conversation conversation_;
    const std::atomic<bool>* flag_ = nullptr;
};

// A child's body: opens, says {"ready": true} or the error, then answers message by message until {"do": "quit"} or the
// parent's end. Returns the exit status.
[[nodiscard]] int answer_parent(Conversation& parent, const std::function<Status()>& open, const std::function<Result<Json>(const Json&)>& handle);

// {"error": {"code": "corrupt", "message": "..."}}
[[nodiscard]] Json error_message(const Error& error);

}  // namespace wsync
