// A forked peer that obeys commands: frames over a socket pair.
#pragma once

#include "transport/wire/stream.hpp"

#include <cerrno>
#include <csignal>
#include <functional>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace wsync::testing {

// One command or answer: an op (or a Code + 1, 0 for ok), a number, bytes.
struct Message {
    std::uint64_t word = 0;
    std::uint64_t number = 0;
    Bytes bytes{};

    [[nodiscard]] Status status() const {
        if (word == 0) return {};
        return Error{static_cast<Code>(word - 1), std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), {}};
    }
    [[nodiscard]] static Message of(const Status& status, std::uint64_t number = 0) {
        if (status.has_value()) return {0, number, {}};
        auto failed = status;
        const std::string text = failed.error().to_string();
        const auto bytes = as_bytes_of(text);
        return {static_cast<std::uint64_t>(failed.error().code) + 1, number, Bytes(bytes.begin(), bytes.end())};
    }
};

class Pipe {
public:
    explicit Pipe(UniqueFd fd) : stream_(std::move(fd), {.name = "the other process"}) {}
    void send(const Message& message) {
        ByteWriter out;
        out.u64(message.word).u64(message.number).raw(message.bytes);
        (void)stream_.send_frame(out.view(), Deadline::never());
    }
    // An Error when the other side has gone.
    [[nodiscard]] Result<Message> receive(Deadline deadline = std::chrono::seconds(60)) {
        WSYNC_TRY(const auto frame, stream_.receive_frame(1 << 20, deadline));
        ByteReader in(frame, "message");
        Message message;
        WSYNC_TRY(message.word, in.u64());
        WSYNC_TRY(message.number, in.u64());
        WSYNC_TRY(const auto rest, in.raw(in.remaining()));
        message.bytes.assign(rest.begin(), rest.end());
        return message;
    }

private:
    Stream stream_;
};

class Child {
public:
    // `body` runs in the child; when it returns the child exits with 0. Dies with its parent. To be made while the
    // parent has one thread.
    explicit Child(const std::function<void(Pipe&)>& body) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error("no socket pair");
        pid_ = ::fork();
        if (pid_ < 0) throw std::runtime_error("no fork");
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::close(ends[0]);
            {
                Pipe pipe{UniqueFd(ends[1])};
                body(pipe);
            }
            ::_exit(0);
        }
        ::close(ends[1]);
        pipe_ = std::make_unique<Pipe>(UniqueFd(ends[0]));
    }
    ~Child() {
        kill();
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    [[nodiscard]] Pipe& pipe() { return *pipe_; }
    [[nodiscard]] pid_t pid() const { return pid_; }
    // Sends and waits for the answer.
    [[nodiscard]] Result<Message> ask(const Message& message) {
        pipe_->send(message);
        return pipe_->receive();
    }
    // SIGKILL, and gone when it returns.
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        (void)wait();
    }
    // The status that waitpid gives.
    int wait() {
        int status = -1;
        while (pid_ > 0 && ::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return status;
    }
    // Stopped when it returns.
    void stop() {
        if (pid_ <= 0) return;  // 0 and -1 would name others
        ::kill(pid_, SIGSTOP);
        int status = 0;
        while (::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
        }
    }
    void go_on() {
        if (pid_ > 0) ::kill(pid_, SIGCONT);
    }

private:
    pid_t pid_ = -1;
    std::unique_ptr<Pipe> pipe_;
};

// Forks a process that has every descriptor of this one and does nothing for a minute.
inline pid_t fork_sleeper() {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    ::alarm(60);
    while (true) ::pause();
}

// Ends one, wherever its number came from: 0 and negative numbers would name others.
inline void end_sleeper(pid_t pid) {
    if (pid > 1) ::kill(pid, SIGKILL);
}

}  // namespace wsync::testing
