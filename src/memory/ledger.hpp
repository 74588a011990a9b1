// The ledger of extra memory: who holds how much of it, and the peak. Thread-safe.
//
// "Extra" is what a sync costs beyond the weights that trainer and engine hold anyway. The kernel's own figures
// (kernel_memory.hpp) are the cross-check.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace wsync {

class MemoryLedger {
public:
    void add(std::string_view role, std::uint64_t bytes);
    void remove(std::string_view role, std::uint64_t bytes);

    [[nodiscard]] std::uint64_t current() const;
    [[nodiscard]] std::uint64_t peak() const;
    // Peak bytes of each role since the last reset.
    [[nodiscard]] std::map<std::string, std::uint64_t> peak_by_role() const;
    // The peak becomes what is held now.
    void reset_peak();

private:
    struct Row {
        std::uint64_t now = 0, peak = 0;
    };
    mutable std::mutex mutex_;
    std::map<std::string, Row, std::less<>> rows_;
    std::uint64_t now_ = 0, peak_ = 0;
};

}  // namespace wsync
