#include "base/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace wsync {

void parallel_for(std::size_t count, unsigned threads, const std::function<void(std::size_t)>& body) {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(i);
    };
    const auto extra = std::min<std::size_t>(count, std::max(1u, threads)) - (count > 0 ? 1 : 0);
    std::vector<std::thread> others;
    others.reserve(extra);
    try {
        for (std::size_t i = 0; i < extra; ++i) others.emplace_back(work);
    } catch (const std::system_error&) {
        // The system gives no more threads: those that there are do it all.
    }
    work();
    for (auto& thread : others) thread.join();
}

}  // namespace wsync
