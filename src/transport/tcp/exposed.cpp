#include "transport/tcp/exposed.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace wsync::tcp {

Exposed::Visit::Visit(Exposed& exposed, Stream& stream) : exposed_(exposed), stream_(stream) {
    const std::lock_guard lock(exposed_.mutex_);
    place_ = exposed_.visits_.insert(exposed_.visits_.end(), this);
}

Exposed::Visit::~Visit() {
    const std::lock_guard lock(exposed_.mutex_);
    exposed_.visits_.erase(place_);
    exposed_.note_change();
}

bool Exposed::Visit::begin() {
    const std::lock_guard lock(exposed_.mutex_);
    serving_ = !exposed_.closed_;
    return serving_;
}

std::optional<std::uint64_t> Exposed::Visit::generation() const noexcept {
    if (exposed_.generation_ == nullptr) return std::nullopt;
    // The bytes are read by the kernel, in system calls between two of these loads: nothing moves across those.
    return exposed_.generation_->load(std::memory_order_acquire);
}

void Exposed::Visit::served(std::uint64_t answers_end) {
    const std::lock_guard lock(exposed_.mutex_);
    serving_ = false;
    served_ = std::max(served_, answers_end);
    exposed_.note_change();
}

void Exposed::Visit::confirmed(std::uint64_t answers) {
    const std::lock_guard lock(exposed_.mutex_);
    confirmed_ = answers;
    exposed_.note_change();
}

bool Exposed::idle() const {
    return std::none_of(visits_.begin(), visits_.end(), [](const auto* visit) { return visit->under_way(); });
}

void Exposed::note_change() {
    if (!closed_) return;
    let_go_if_idle();
    changed_.notify_all();
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
    for (const auto* visit : visits_) {
        if (!visit->under_way()) continue;
        who += (who.empty() ? "" : ", ") + visit->stream_.peer().name;
    }
    return Error{Code::timed_out, fmt::format("bytes of an exposed region are under way to {}; its memory stays until they hold them or leave", who)};
}

void Exposed::cut() {
    std::unique_lock lock(mutex_);
    closed_ = true;
    for (auto* visit : visits_) {
        if (visit->under_way()) visit->stream_.shut_down();
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
