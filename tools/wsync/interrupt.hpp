// Ctrl-C and SIGTERM: the verb under way is asked to stop, and cleans up as it does on any Error.
#pragma once

#include <atomic>

namespace wsync::tool {

// From now on the first signal is noted (a second one kills as it always did). SIGPIPE and SIGXFSZ are ignored: a reader
// that left and a limit on files (ulimit -f) become errors.
void catch_interrupts();
// True from the first signal on: for Deadline::unless and whoever else looks now and then.
[[nodiscard]] const std::atomic<bool>& interrupt_flag() noexcept;
// 0, or the signal's number.
[[nodiscard]] int interrupted_by() noexcept;
// Also called once from the signal handler: async-signal-safe things only, e.g. Receiver::interrupt.
void on_interrupt(void (*wake)(void*), void* argument) noexcept;

}  // namespace wsync::tool
