#include "transport/file/worker_pool.hpp"

#include <csignal>
#include <fmt/format.h>
#include <system_error>

namespace wsync::file_transport {

Result<std::unique_ptr<WorkerPool>> WorkerPool::start(unsigned threads) {
    std::unique_ptr<WorkerPool> pool(new WorkerPool);
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited by the threads
    std::string trouble;
    for (unsigned i = 0; i < threads; ++i) {
        try {
            pool->threads_.emplace_back([raw = pool.get(), i] { raw->run(i); });
        } catch (const std::system_error& e) {
            trouble = e.what();
            break;
        }
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pool->threads_.empty()) return Error{Code::resource_exhausted, fmt::format("starting a thread for file I/O: {}", trouble)};
    return pool;
}

WorkerPool::~WorkerPool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    ready_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void WorkerPool::post(Work work) {
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(work));
    }
    ready_.notify_one();
}

void WorkerPool::run(unsigned thread) {
    std::unique_lock lock(mutex_);
    for (;;) {
        ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) return;
        auto work = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        work(thread);
        lock.lock();
    }
}

}  // namespace wsync::file_transport
