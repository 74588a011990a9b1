// A listening socket and, where it has one, its name in the file system: seen only while somebody listens, so that a name
// that refuses connections is a dead process's.
#pragma once

#include "transport/wire/stream.hpp"

#include <sys/types.h>

namespace wsync {

class Listener {
public:
    [[nodiscard]] static Result<Listener> open(const Endpoint& endpoint);
    ~Listener();  // unlinks the path if it is still ours
    Listener(Listener&&) noexcept = default;
    Listener& operator=(Listener&&) = delete;

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }  // with the real port

    // The next connection, or one without a descriptor when there is none now.
    [[nodiscard]] Result<UniqueFd> accept();

private:
    Listener(UniqueFd fd, Endpoint endpoint) : fd_(std::move(fd)), endpoint_(std::move(endpoint)) {}
    UniqueFd fd_;
    Endpoint endpoint_;
    ino_t inode_ = 0;   // of the Unix path
    dev_t device_ = 0;
    pid_t owner_ = 0;   // a forked child's copy leaves the path alone
};

}  // namespace wsync
