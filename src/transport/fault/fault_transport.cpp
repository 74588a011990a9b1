#include "transport/fault/fault_transport.hpp"

#include "kernels/kernel_set.hpp"
#include "transport/fault/fate.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <deque>
#include <fmt/format.h>
#include <thread>
#include <unordered_map>

namespace wsync {
namespace {

using fault::Fate;

// What the channels of one transport share.
struct Shared {
    FaultPolicy policy;
    std::atomic<std::uint64_t> accepted{0};
};

class FaultChannel final : public Channel {
public:
    FaultChannel(std::unique_ptr<Channel> inner, std::shared_ptr<Shared> shared) : inner_(std::move(inner)), shared_(std::move(shared)) {}
    ~FaultChannel() override { close(); }

    Result<Region> map() override { return inner_->map(); }
    Result<std::size_t> submit(std::span<const Transfer> transfers) override;
    Result<std::size_t> wait(std::span<Completion> out, Deadline deadline) override;
    void close() override;
    std::optional<std::uint64_t> generation() const override { return inner_->generation(); }

private:
    // A transfer under way inside; the ticket that the inner channel sees is its number.
    struct Flying {
        Transfer transfer;
        Fate fate = Fate::pass;
    };
    // A completion on its way out. Those that wait for something are behind those that don't.
    struct Held {
        Completion completion;
        std::optional<Deadline> until;  // a delay's end
        bool overtaken = true;          // false: waits for a later one to pass
        bool waits = false;             // delayed or reordered
    };
    [[nodiscard]] Result<bool> accept(const Transfer& transfer);
    [[nodiscard]] std::size_t release(std::span<Completion> out);
    [[nodiscard]] Status collect(Deadline deadline);
    void land(Completion completion);
    [[nodiscard]] std::optional<Deadline> next_release() const;

    std::unique_ptr<Channel> inner_;
    std::shared_ptr<Shared> shared_;
    std::optional<std::uint64_t> spare_number_;  // of a transfer that the inner channel had no room for
    std::unordered_map<std::uint64_t, Flying> flying_;
    std::deque<Held> held_;
    std::deque<std::uint64_t> dropped_;  // tickets
    bool closed_ = false;
};

Result<std::size_t> FaultChannel::submit(std::span<const Transfer> transfers) {
    std::size_t taken = 0;
    for (const auto& transfer : transfers) {
        auto accepted = accept(transfer);
        if (!accepted) {
            // "None was taken" must stay true of an Error.
            if (taken > 0) return taken;
            return std::move(accepted).error();
        }
        if (!*accepted) break;
        ++taken;
    }
    if (transfers.empty() && closed_) return inner_->submit(transfers);
    return taken;
}

Result<bool> FaultChannel::accept(const Transfer& transfer) {
    if (closed_) return Error{Code::cancelled, "the channel is closed", {}};
    const std::uint64_t number = spare_number_ ? *spare_number_ : shared_->accepted.fetch_add(1) + 1;
    spare_number_.reset();
    if (shared_->policy.kill_at == number) (void)std::raise(SIGKILL);
    const Fate fate = fault::fate_of(shared_->policy, number);
    if (fate == Fate::drop) {
        dropped_.push_back(transfer.ticket);
        return true;
    }
    if (fate == Fate::fail) {
        held_.push_front({{transfer.ticket, Error{Code::io_error, fmt::format("injected fault: transfer {} failed", number), {}}, {}, {}}, {}, true, false});
        return true;
    }
    Transfer inside = transfer;
    inside.ticket = number;
    auto taken = inner_->submit(std::span(&inside, 1));
    if (!taken || *taken == 0) {
        spare_number_ = number;
        if (!taken) return std::move(taken).error();
        return false;
    }
    flying_.emplace(number, Flying{transfer, fate});
    return true;
}

void FaultChannel::land(Completion completion) {
    const auto at = flying_.find(completion.ticket);
    if (at == flying_.end()) return;
    const auto [transfer, fate] = at->second;
    const std::uint64_t number = completion.ticket;
    completion.ticket = transfer.ticket;
    Held held{std::move(completion), {}, true, fate == Fate::delay || fate == Fate::reorder};
    if (fate == Fate::corrupt && held.completion.status && transfer.op == Op::read && transfer.row_bytes != 0 && transfer.rows != 0) {
        fault::flip_one_byte(transfer, fault::mix(shared_->policy.seed, number, 0));
        if (transfer.want_digest) {
            held.completion.digest = digest_rows(default_kernels(), transfer.local->address + transfer.local_offset, transfer.local_stride,
                                                 transfer.row_bytes, transfer.rows);
        }
    }
    if (fate == Fate::delay) held.until = Deadline(shared_->policy.delay_by);
    flying_.erase(at);
    if (fate == Fate::reorder) held.overtaken = false;
    if (held.waits) {
        held_.push_back(std::move(held));
        return;
    }
    for (auto& waiting : held_) waiting.overtaken = true;
    held_.insert(std::find_if(held_.begin(), held_.end(), [](const Held& one) { return one.waits; }), std::move(held));
}

std::size_t FaultChannel::release(std::span<Completion> out) {
    std::size_t filled = 0;
    const bool nothing_follows = flying_.empty();
    for (auto at = held_.begin(); at != held_.end() && filled < out.size();) {
        const bool ready = closed_ || ((at->overtaken || nothing_follows) && (!at->until || at->until->expired()));
        if (!ready) {
            ++at;
            continue;
        }
        out[filled++] = std::move(at->completion);
        at = held_.erase(at);
    }
    while (closed_ && filled < out.size() && !dropped_.empty()) {
        Completion completion;
        completion.ticket = dropped_.front();
        completion.status = Error{Code::cancelled, "the channel is closed", {}};
        out[filled++] = std::move(completion);
        dropped_.pop_front();
    }
    return filled;
}

std::optional<Deadline> FaultChannel::next_release() const {
    std::optional<Deadline> next;
    for (const auto& held : held_) {
        if (held.until) next = next ? next->sooner(*held.until) : *held.until;
    }
    return next;
}

Status FaultChannel::collect(Deadline deadline) {
    std::array<Completion, 64> landed;
    WSYNC_TRY(const auto n, inner_->wait(landed, deadline));
    for (std::size_t i = 0; i < n; ++i) land(std::move(landed[i]));
    return {};
}

Result<std::size_t> FaultChannel::wait(std::span<Completion> out, Deadline deadline) {
    if (out.empty()) return std::size_t{0};
    const bool polls = deadline.expired();
    while (true) {
        if (!flying_.empty()) WSYNC_TRY_VOID(collect(Deadline::now()));
        if (const auto filled = release(out); filled > 0) return filled;
        if (polls || (flying_.empty() && held_.empty() && dropped_.empty())) return std::size_t{0};
        if (deadline.expired()) break;
        const auto next = next_release();
        const Deadline until = next ? deadline.sooner(*next) : deadline;
        if (!flying_.empty()) {
            auto landed = collect(until);
            if (!landed && landed.error().code != Code::timed_out) return std::move(landed).error();
        } else {
            // Only a delay's end, or the deadline of what was dropped, is left to wait for.
            constexpr auto kLong = std::chrono::hours(1);
            std::this_thread::sleep_until(std::min(until.next_look().value_or(Deadline::clock::time_point::max()), Deadline::clock::now() + kLong));
        }
    }
    return Error{Code::timed_out, fmt::format("{} transfers did not complete until the deadline", flying_.size() + held_.size() + dropped_.size()), {}};
}

void FaultChannel::close() {
    if (closed_) return;
    closed_ = true;
    inner_->close();
}

class FaultTransport final : public Transport {
public:
    FaultTransport(std::unique_ptr<Transport> inner, FaultPolicy policy) : inner_(std::move(inner)), shared_(std::make_shared<Shared>()) {
        shared_->policy = std::move(policy);
    }
    const Capabilities& capabilities() const override { return inner_->capabilities(); }
    Result<std::unique_ptr<Exposure>> expose(const Region& region, const ExposeOptions& options) override { return inner_->expose(region, options); }
    Result<std::unique_ptr<Channel>> attach(const Descriptor& descriptor, const AttachOptions& options) override {
        WSYNC_TRY(auto channel, inner_->attach(descriptor, options));
        return std::unique_ptr<Channel>(std::make_unique<FaultChannel>(std::move(channel), shared_));
    }

private:
    std::unique_ptr<Transport> inner_;
    std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<Transport> make_fault_transport(std::unique_ptr<Transport> inner, FaultPolicy policy) {
    return std::make_unique<FaultTransport>(std::move(inner), std::move(policy));
}

}  // namespace wsync
