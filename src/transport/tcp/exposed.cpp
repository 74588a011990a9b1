#include "transport/tcp/exposed.hpp"

#include <fmt/format.h>

namespace wsync::tcp {

Exposed::Visit::Visit(Exposed& exposed, Stream& stream) : exposed_(exposed), stream_(stream) {
    const std::lock_guard lock(exposed_.mutex_);
    place_ = exposed_.visits_.insert(exposed_.visits_.end(), this);
}

Exposed::Visit::~Visit() {
    const std::lock_guard lock(exposed_.mutex_);
    exposed_.visits_.erase(place_);
    exposed_.let_go_if_idle();
    exposed_.changed_.notify_all();
}

bool Exposed::Visit::begin(std::uint64_t answers) {
    const std::lock_guard lock(exposed_.mutex_);
    if (exposed_.closed_) return false;
    under_way_ += answers;
    serving_ = true;
    return true;
}

std::optional<std::uint64_t> Exposed::Visit::generation() const noexcept {
    if (exposed_.generation_ == nullptr) return std::nullopt;
    // The bytes are read by the kernel, in system calls between two of these loads: nothing moves across those.
    return exposed_.generation_->load(std::memory_order_acquire);
}

void Exposed::Visit::served() {
    const std::lock_guard lock(exposed_.mutex_);
    serving_ = false;
    if (exposed_.closed_) exposed_.changed_.notify_all();
}

void Exposed::Visit::confirmed(std::uint64_t answers) {
    if (answers == 0) return;
    const std::lock_guard lock(exposed_.mutex_);
    under_way_ -= answers;
    if (!exposed_.closed_) return;
    exposed_.let_go_if_idle();
    exposed_.changed_.notify_all();
}

bool Exposed::idle() const {
    for (const auto* visit : visits_) {
        if (visit->serving_ || visit->under_way_ > 0) return false;
    }
    return true;
}

void Exposed::let_go_if_idle() {
    if (closed_ && idle()) region_ = Region{};
}

Status Exposed::close(Deadline deadline) {
    std::unique_lock lock(mutex_);
    closed_ = true;
    const auto done = [&] { return idle(); };
    bool finished = true;
    if (deadline.when()) {
        finished = changed_.wait_until(lock, *deadline.when(), done);
    } else {
        changed_.wait(lock, done);
    }
    if (finished) {
        region_ = Region{};
        return {};
    }
    std::string who;
    std::uint64_t answers = 0;
    for (const auto* visit : visits_) {
        if (!visit->serving_ && visit->under_way_ == 0) continue;
        who += (who.empty() ? "" : ", ") + visit->stream_.peer().name;
        answers += visit->under_way_;
    }
    return Error{Code::timed_out, fmt::format("{} transfers of an exposed region are under way to {}; its memory stays until they end", answers, who)};
}

void Exposed::cut() {
    std::unique_lock lock(mutex_);
    closed_ = true;
    for (auto* visit : visits_) {
        if (visit->serving_ || visit->under_way_ > 0) visit->stream_.shut_down();
    }
    changed_.wait(lock, [&] { return idle(); });
    region_ = Region{};
}

std::uint64_t ExposedTable::add(std::shared_ptr<Exposed> exposed) {
    const std::lock_guard lock(mutex_);
    const auto id = next_id_++;
    rows_.emplace(id, std::move(exposed));
    return id;
}

void ExposedTable::remove(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    rows_.erase(id);
}

std::shared_ptr<Exposed> ExposedTable::find(std::uint64_t id, const Nonce& nonce) const {
    const std::lock_guard lock(mutex_);
    const auto row = rows_.find(id);
    if (row == rows_.end() || row->second->nonce() != nonce) return nullptr;
    return row->second;
}

}  // namespace wsync::tcp
