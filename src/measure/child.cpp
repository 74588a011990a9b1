#include "measure/child.hpp"

#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <poll.h>
#include <span>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace wsync {
namespace {

constexpr std::size_t kMaxMessageBytes = 64 << 20;

Code code_from_name(std::string_view name) {
    for (int i = 0; i <= static_cast<int>(Code::internal); ++i)
        if (name_of(static_cast<Code>(i)) == name) return static_cast<Code>(i);
    return Code::internal;
}

}  // namespace

Json error_message(const Error& error) {
    Error whole = error;
    std::string message = whole.message;
    for (const auto& step : whole.context) message += ", while " + step;
    return {{"error", {{"code", name_of(error.code)}, {"message", message}}}};
}

int answer_parent(Conversation& parent, const std::function<Status()>& open, const std::function<Result<Json>(const Json&)>& handle) {
    auto opened = open();
    if (!parent.send(opened ? Json{{"ready", true}} : error_message(opened.error())) || !opened) return 1;
    while (true) {
        auto message = parent.receive(Deadline::never());
        if (!message || message->value("do", "") == "quit") return 0;
        auto answer = handle(*message);
        if (!parent.send(answer ? *answer : error_message(answer.error()))) return 1;
    }
}

Status Conversation::send(const Json& message) {
    const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
    const auto size = static_cast<std::uint32_t>(text.size());
    std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
    frame += text;
    std::size_t sent = 0;
    while (sent < frame.size()) {
        const auto n = ::send(socket_.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error{Code::peer_lost, "the other process has gone", {}};
        sent += static_cast<std::size_t>(n);
    }
    return {};
}

Status Conversation::receive_exactly(std::span<char> bytes, Deadline deadline) {
    std::size_t got = 0;
    while (got < bytes.size()) {
        pollfd polled{socket_.get(), POLLIN, 0};
        const int ready = ::poll(&polled, 1, deadline.poll_milliseconds());
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0) {
            if (!deadline.expired()) continue;
            return Error{Code::timed_out, "no answer in time", {}};
        }
        const auto n = ::recv(socket_.get(), bytes.data() + got, bytes.size() - got, 0);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return Error{Code::peer_lost, "the other process has gone", {}};
        got += static_cast<std::size_t>(n);
    }
    return {};
}

Result<Json> Conversation::receive(Deadline deadline) {
    std::uint32_t size = 0;
    WSYNC_TRY_VOID(receive_exactly({reinterpret_cast<char*>(&size), sizeof size}, deadline));
    if (size > kMaxMessageBytes) return Error{Code::corrupt, fmt::format("a message of {} bytes", size), {}};
    std::string text(size, '\0');
    WSYNC_TRY_VOID(receive_exactly(text, deadline));
    auto message = Json::parse(text, nullptr, false);
    if (message.is_discarded()) return Error{Code::corrupt, "a message that is no JSON", {}};
    return message;
}

Result<Child> Child::spawn(std::string name, const Body& body) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return errno_error(errno, "making a socket pair");
    UniqueFd ours(pair[0]), theirs(pair[1]);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) return errno_error(errno, "forking " + name);
    if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(1);
        ::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches the whole group: the parent decides, and ends its children
        ::signal(SIGTERM, SIG_DFL);
        ours.reset();
        Conversation conversation(std::move(theirs));
        ::_exit(body(conversation));
    }
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    return Child(std::move(name), pid, std::move(pidfd), std::move(ours));
}

Child::Child(Child&& other) noexcept
    : name_(std::move(other.name_)), pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), conversation_(std::move(other.conversation_)), flag_(other.flag_) {}

Child& Child::operator=(Child&& other) noexcept {
    std::swap(name_, other.name_);
    std::swap(pid_, other.pid_);
    std::swap(pidfd_, other.pidfd_);
    std::swap(conversation_, other.conversation_);
    std::swap(flag_, other.flag_);
    return *this;
}

Child::~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

Status Child::send(const Json& message) { return conversation_.send(message).within("talking to " + name_); }

Result<Json> Child::receive(Deadline deadline) {
    if (flag_ != nullptr) deadline = deadline.unless(*flag_);
    // Other children hold copies of our socket pairs: its end-of-file may not come, its pidfd does.
    while (true) {
        pollfd polled[2] = {{conversation_.fd(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}};
        const int n = ::poll(polled, 2, deadline.poll_milliseconds());
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) {
            if (!deadline.expired()) continue;
            if (deadline.interrupted()) return Error{Code::cancelled, "interrupted while waiting for " + name_, {}};
            return Error{Code::timed_out, name_ + " did not answer in time", {}};
        }
        if (polled[0].revents == 0) return Error{Code::peer_lost, name_ + " died", {}};
        break;
    }
    WSYNC_TRY(auto message, conversation_.receive(deadline).within("listening to " + name_));
    if (message.is_object() && message.contains("error")) {
        const auto& error = message["error"];
        return Error{code_from_name(error.value("code", "internal")), error.value("message", ""), {name_ + " answered"}};
    }
    return message;
}

Result<Json> Child::ask(const Json& message, Deadline deadline) {
    WSYNC_TRY_VOID(send(message));
    return receive(deadline);
}

void Child::signal(int number) noexcept {
    if (pid_ > 0) ::kill(pid_, number);
}

Result<int> Child::join(Deadline deadline) {
    if (pid_ <= 0) return Error{Code::invalid_argument, name_ + " was joined already", {}};
    while (true) {
        pollfd polled{pidfd_.get(), POLLIN, 0};
        const int n = ::poll(&polled, 1, deadline.poll_milliseconds());
        if (n < 0 && errno == EINTR) continue;
        if (n == 0 && !deadline.expired()) continue;
        if (n == 0) return Error{Code::timed_out, name_ + " did not end in time", {}};
        break;
    }
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace wsync
