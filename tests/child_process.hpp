// A forked child of a test, and the pipe by which it tells how far it is. The body must not return through gtest.
#pragma once

#include <cerrno>
#include <csignal>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace wsync::testing {

class ChildProcess {
public:
    // The body gets a descriptor to write its news to; its answer is the exit status.
    explicit ChildProcess(const std::function<int(int)>& body) {
        int ends[2] = {-1, -1};
        if (::pipe(ends) != 0) std::abort();
        pid_ = ::fork();
        if (pid_ == 0) {
            ::close(ends[0]);
            ::_exit(body(ends[1]));
        }
        ::close(ends[1]);
        news_ = ends[0];
    }
    ~ChildProcess() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            (void)wait();
        }
        ::close(news_);
    }
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    // The next byte of news; 0 when the child has ended.
    char hear() {
        char byte = 0;
        while (::read(news_, &byte, 1) < 0 && errno == EINTR) {
        }
        return byte;
    }
    void signal(int number) const { ::kill(pid_, number); }
    // Returns once every thread of the child is stopped.
    void stop() const {
        ::kill(pid_, SIGSTOP);
        int status = 0;
        while (::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
        }
    }
    // The exit status, or minus the signal that ended it.
    int wait() {
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }

    static void tell(int news, char byte) {
        while (::write(news, &byte, 1) < 0 && errno == EINTR) {
        }
    }

private:
    pid_t pid_ = -1;
    int news_ = -1;
};

}  // namespace wsync::testing
