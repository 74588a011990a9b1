#include "memory/ledger.hpp"

#include <algorithm>

namespace wsync {

void MemoryLedger::add(std::string_view role, std::uint64_t bytes) {
    std::lock_guard lock(mutex_);
    auto at = rows_.find(role);
    if (at == rows_.end()) at = rows_.emplace(role, Row{}).first;
    at->second.now += bytes;
    at->second.peak = std::max(at->second.peak, at->second.now);
    now_ += bytes;
    peak_ = std::max(peak_, now_);
}

void MemoryLedger::remove(std::string_view role, std::uint64_t bytes) {
    std::lock_guard lock(mutex_);
    auto at = rows_.find(role);
    if (at == rows_.end()) return;
    // Never below zero: a remove without its add must not make the total wrong for the others.
    auto taken = std::min(bytes, at->second.now);
    at->second.now -= taken;
    now_ -= taken;
}

std::uint64_t MemoryLedger::current() const {
    std::lock_guard lock(mutex_);
    return now_;
}

std::uint64_t MemoryLedger::peak() const {
    std::lock_guard lock(mutex_);
    return peak_;
}

std::map<std::string, std::uint64_t> MemoryLedger::peak_by_role() const {
    std::lock_guard lock(mutex_);
    std::map<std::string, std::uint64_t> peaks;
    for (const auto& [role, row] : rows_) {
        if (row.peak > 0) peaks.emplace(role, row.peak);
    }
    return peaks;
}

void MemoryLedger::reset_peak() {
    std::lock_guard lock(mutex_);
    for (auto& [role, row] : rows_) row.peak = row.now;
    peak_ = now_;
}

}  // namespace wsync
