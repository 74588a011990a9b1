// A few threads that do what is given to them, in order of arrival.
#pragma once

#include "wsync/base/result.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace wsync::file_transport {

class WorkerPool {
public:
    // Error{resource_exhausted}: not even one thread could be started. Signals are blocked in them.
    [[nodiscard]] static Result<std::unique_ptr<WorkerPool>> start(unsigned threads);
    ~WorkerPool();  // what has been posted is done first
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    // Called with the number of the thread that does it, from 0 on.
    using Work = std::function<void(unsigned)>;
    void post(Work work);

private:
    WorkerPool() = default;
    void run(unsigned thread);

    std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<Work> queue_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace wsync::file_transport
