// A transport over memory that does what a test tells it: short queues, chosen failures, and a count of everything.
#pragma once

#include "kernels/kernel_set.hpp"
#include "transport/transport.hpp"

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

namespace wsync::testing {

// What all channels of one transport share.
struct Script {
    std::size_t queue = 1000;             // transfers that a channel takes at a time
    std::size_t completions = 1000;       // that one wait gives
    std::uint64_t fail_ticket = ~std::uint64_t{0};
    Code fail_code = Code::io_error;
    bool stall = false;                   // wait answers timed_out
    bool refuse_submit = false;
    std::function<void(const Transfer&)> on_transfer;  // as it completes

    std::mutex mutex;
    std::vector<std::uint64_t> tickets;   // submitted, of all channels
    std::vector<std::string> mixed;       // channels that saw another region than their own
    std::uint64_t bytes = 0, most_bytes = 0;  // under way, over all channels
    std::size_t attached = 0, open = 0, closed_with_work = 0;
};

class ScriptedChannel final : public Channel {
public:
    ScriptedChannel(Script& script, std::span<const std::byte> source) : script_(script), source_(source) {
        std::lock_guard lock(script_.mutex);
        ++script_.attached;
        ++script_.open;
    }
    ~ScriptedChannel() override {
        close();
        std::lock_guard lock(script_.mutex);
        --script_.open;
    }
    Result<Region> map() override { return Error{Code::unsupported, "a scripted channel can't map", {}}; }
    Result<std::size_t> submit(std::span<const Transfer> transfers) override {
        if (closed_) return Error{Code::cancelled, "the channel is closed", {}};
        if (script_.refuse_submit) return Error{Code::peer_lost, "the peer has gone", {}};
        std::lock_guard lock(script_.mutex);
        std::size_t taken = 0;
        for (; taken < transfers.size() && queue_.size() < script_.queue; ++taken) {
            const auto& transfer = transfers[taken];
            queue_.push_back(transfer);
            script_.tickets.push_back(transfer.ticket);
            script_.bytes += transfer.row_bytes * transfer.rows;
        }
        script_.most_bytes = std::max(script_.most_bytes, script_.bytes);
        return taken;
    }
    Result<std::size_t> wait(std::span<Completion> out, Deadline) override {
        if (script_.stall && !queue_.empty()) return Error{Code::timed_out, "nothing came", {}};
        std::size_t n = 0;
        while (n < out.size() && n < script_.completions && !queue_.empty()) {
            const auto transfer = queue_.front();
            queue_.pop_front();
            {
                std::lock_guard lock(script_.mutex);
                script_.bytes -= transfer.row_bytes * transfer.rows;
            }
            out[n++] = closed_ ? Completion{transfer.ticket, Error{Code::cancelled, "the channel was closed", {}}, {}, {}} : complete(transfer);
        }
        return n;
    }
    void close() override {
        if (closed_) return;
        closed_ = true;
        std::lock_guard lock(script_.mutex);
        if (!queue_.empty()) ++script_.closed_with_work;
    }
    std::optional<std::uint64_t> generation() const override { return std::nullopt; }

private:
    Completion complete(const Transfer& transfer) {
        Completion done{transfer.ticket, {}, {}, {}};
        if (transfer.ticket == script_.fail_ticket) {
            done.status = Error{script_.fail_code, "told to fail", {}};
            return done;
        }
        std::vector<std::byte> packed;
        for (std::uint64_t row = 0; row < transfer.rows; ++row) {
            const auto from = source_.subspan(transfer.remote_offset + row * transfer.remote_stride, transfer.row_bytes);
            std::memcpy(transfer.local->address + transfer.local_offset + row * transfer.local_stride, from.data(), from.size());
            packed.insert(packed.end(), from.begin(), from.end());
        }
        if (transfer.want_digest) done.digest = digest_of(packed);
        if (script_.on_transfer) script_.on_transfer(transfer);
        return done;
    }

    Script& script_;
    std::span<const std::byte> source_;
    std::deque<Transfer> queue_;
    bool closed_ = false;
};

// Attaches to regions by number: a descriptor's bytes are one u64.
class ScriptedTransport final : public Transport {
public:
    ScriptedTransport(Script& script, std::vector<std::span<const std::byte>> regions) : script_(script), regions_(std::move(regions)) {}
    [[nodiscard]] static Descriptor descriptor(std::uint64_t region) {
        ByteWriter out;
        return {"scripted", out.u64(region).take()};
    }
    const Capabilities& capabilities() const override { return capabilities_; }
    Result<std::unique_ptr<Exposure>> expose(const Region&, const ExposeOptions&) override { return Error{Code::unsupported, "a scripted transport only attaches", {}}; }
    Result<std::unique_ptr<Channel>> attach(const Descriptor& descriptor, const AttachOptions&) override {
        ByteReader in(descriptor.bytes, "scripted descriptor");
        WSYNC_TRY(const auto region, in.u64());
        if (region >= regions_.size()) return Error{Code::peer_lost, "no such region", {}};
        return std::unique_ptr<Channel>(std::make_unique<ScriptedChannel>(script_, regions_[region]));
    }

private:
    Script& script_;
    std::vector<std::span<const std::byte>> regions_;
    Capabilities capabilities_ = [] {
        Capabilities c;
        c.name = "scripted";
        c.host = c.read = true;
        return c;
    }();
};

}  // namespace wsync::testing
