#include "interrupt.hpp"

#include <atomic>
#include <csignal>

namespace wsync::tool {
namespace {

// Signal handlers have nothing but globals to speak through.
volatile std::sig_atomic_t caught = 0;
std::atomic<bool> flag{false};
std::atomic<void (*)(void*)> wake_function{nullptr};
std::atomic<void*> wake_argument{nullptr};

void note(int number) {
    caught = number;
    flag = true;
    if (auto* wake = wake_function.load()) wake(wake_argument.load());
}

}  // namespace

void catch_interrupts() {
    struct sigaction action {};
    action.sa_handler = note;
    action.sa_flags = SA_RESETHAND;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);
}

const std::atomic<bool>& interrupt_flag() noexcept { return flag; }

int interrupted_by() noexcept { return static_cast<int>(caught); }

void on_interrupt(void (*wake)(void*), void* argument) noexcept {
    wake_argument = argument;
    wake_function = wake;
}

}  // namespace wsync::tool
