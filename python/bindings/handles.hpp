// What Python holds of a session, a publisher and a receiver. Closing one gives its resources back at once.
#pragma once

#include "bindings.hpp"

#include <atomic>

namespace wsync::python {

struct PublisherHandle {
    explicit PublisherHandle(Publisher made) : publisher(std::make_shared<Publisher>(std::move(made))) {}
    [[nodiscard]] std::shared_ptr<Publisher> get() const;
    std::shared_ptr<Publisher> publisher;
    std::atomic<bool> busy{false};
};

struct WriteHandle {
    WriteHandle(std::shared_ptr<Publisher> of, Write made) : publisher(std::move(of)), write(std::move(made)) {}
    [[nodiscard]] Write& get();
    void end() {
        write.reset();
        publisher.reset();
    }
    std::shared_ptr<Publisher> publisher;  // outlives the write, closed or not
    std::optional<Write> write;
    std::atomic<bool> busy{false};
};

struct StagedHandle {
    explicit StagedHandle(StagedVersion made) : staged(std::move(made)) {}
    [[nodiscard]] StagedVersion& get();
    std::optional<StagedVersion> staged;
};

struct ReceiverHandle {
    explicit ReceiverHandle(Receiver made) : receiver(std::make_shared<Receiver>(std::move(made))) {}
    [[nodiscard]] std::shared_ptr<Receiver> get() const;
    std::shared_ptr<Receiver> receiver;
    std::atomic<bool> busy{false};
    bool stale_interrupt = false;  // one that no call has consumed
};

struct SessionHandle {
    std::optional<Session> session;
};

}  // namespace wsync::python
