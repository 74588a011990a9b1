// The receiver: one wsync receiver for each method, the copying ones over the same memory.
#include "measure/fleet_process.hpp"
#include "memory/host_buffer.hpp"
#include "memory/memory_limit.hpp"
#include "memory/prefault.hpp"
#include "memory/slab_page.hpp"
#include "sync/stopwatch.hpp"
#include "wsync/model/placement.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

// The whole pages from the first byte of any tensor to the last: they lie in one slab.
std::span<std::byte> pages_of(const TensorRange& tensors) {
    std::uintptr_t begin = UINTPTR_MAX, end = 0;
    for (const auto tensor : tensors) {
        const auto at = reinterpret_cast<std::uintptr_t>(tensor.bytes.data());
        begin = std::min(begin, at / kPageBytes * kPageBytes);
        end = std::max(end, (at + tensor.bytes.size() + kPageBytes - 1) / kPageBytes * kPageBytes);
    }
    if (end <= begin) return {};
    return {reinterpret_cast<std::byte*>(begin), end - begin};
}

class ReceiverProcess {
public:
    ReceiverProcess(const FleetOptions& options, const FleetPlace& place, unsigned index) : options_(options), place_(place), index_(index) {}

    Status open() {
        WSYNC_TRY(const auto whole, Layout::replicated(options_.source.manifest(), 1));
        WSYNC_TRY(const auto placement, pack(whole, 0));
        for (const auto& method : options_.methods) {
            // Two slabs as an engine has them (active and staging), shared by the methods, which take turns.
            while (method != "shm_map" && slots_.size() < 2) {
                HostBufferOptions buffer;
                buffer.bytes = std::max<std::uint64_t>(placement.bytes(), 1);
                buffer.prefault_threads = options_.threads;
                WSYNC_TRY(auto made, HostBuffer::make(buffer).within("making a receiver's slab"));
                slots_.push_back(made->bytes());
                buffers_.push_back(std::move(made));
            }
            WSYNC_TRY(auto opened, open_method(method));
            methods_.emplace(method, std::move(opened));
        }
        return {};
    }

    Result<Json> handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "memory") {
            if (methods_.empty()) return Error{Code::invalid_argument, "this receiver has no method", {}};
            auto memory = memory_message(methods_.begin()->second.session);
            std::uint64_t slots = 0;
            for (const auto& buffer : buffers_) slots += buffer->bytes().size();
            memory["slots"] = slots;
            return memory;
        }
        const auto it = methods_.find(message.value("method", ""));
        if (it == methods_.end()) return Error{Code::invalid_argument, "this receiver is not prepared for " + message.value("method", ""), {}};
        if (what == "sync") return sync(it->second, message);
        if (what == "audit") return audit(it->second.receiver);
        if (what == "map_anew") return map_anew(message.value("method", ""));
        if (what == "active") {
            const auto pin = it->second.receiver.pin();
            return Json{{"version", pin ? pin.version().label() : ""}};
        }
        return Error{Code::invalid_argument, "the receiver does not know how to " + what, {}};
    }

private:
    struct Method {
        Session session;
        Receiver receiver;
    };

    // A session each, so that each method's extra memory is its own.
    Result<Method> open_method(const std::string& method) {
        SessionOptions session;
        session.control = place_.control;
        session.socket_directory = place_.sockets;
        session.kernels = options_.kernels;
        if (options_.prepare_receiver) options_.prepare_receiver(session, index_);
        ReceiverOptions receiver;
        receiver.name = kFleetName;
        receiver.id = fmt::format("{} ({})", index_ + 1, method);
        receiver.budget.threads = options_.threads;
        receiver.reuse_blocks = false;  // every round moves every byte
        receiver.huge_pages = options_.huge_pages;
        if (method == "shm_map") {
            receiver.use = Use::serve_in_place;
            receiver.transports = {"shm"};
        } else {
            receiver.transports = {method == "shm_copy" ? "shm" : method};
            receiver.sink.slots = slots_;
        }
        WSYNC_TRY(auto opened, Session::open(session));
        WSYNC_TRY(auto made, opened.receiver(receiver));
        return Method{std::move(opened), std::move(made)};
    }

    Result<Json> map_anew(const std::string& name) {
        Stopwatch watch;
        WSYNC_TRY(auto method, open_method(name));
        WSYNC_TRY(const auto report, method.receiver.sync({.deadline = std::chrono::minutes(1)}));
        const auto whole = watch.lap();
        const auto pin = method.receiver.pin();
        const auto mapped = pages_of(pin.tensors());
        (void)watch.lap();
        WSYNC_TRY_VOID(populate_read(mapped, 1));
        const auto populate = watch.lap();
        return Json{{"whole", whole}, {"hand_over", report.stages.hand_over()}, {"populate", populate}, {"bytes", mapped.size()}};
    }

    Result<Json> sync(Method& method, const Json& message) {
        method.session.reset_peak();
        const auto before = kernel_memory();
        WSYNC_TRY(auto report, method.receiver.sync({.deadline = std::chrono::milliseconds(message.value("deadline_ms", 60'000))}));
        const auto after = kernel_memory();
        Json answer{{"version", report.version},
                    {"method", report.method},
                    {"transport", report.transport},
                    {"verification", name_of(report.verification)},
                    {"first", report.first},
                    {"bytes_needed", report.bytes_needed},
                    {"bytes_moved", report.bytes_moved},
                    {"extra", extra_bytes(method.session)},
                    {"rss_growth", before && after && after->rss_anon > before->rss_anon ? after->rss_anon - before->rss_anon : 0}};
        for (int i = 0; i < kStageCount; ++i) {
            const auto stage = static_cast<Stage>(i);
            answer["stages"][std::string(name_of(stage))] = report.stages[stage];
        }
        return answer;
    }

    Result<Json> audit(Receiver& receiver) {
        const auto pin = receiver.pin();
        if (!pin) return Error{Code::not_found, "nothing is active", {}};
        Json digests = Json::object();
        for (const auto tensor : pin.tensors()) digests[std::string(tensor.name)] = digest_of(tensor.bytes).hex();
        return Json{{"digests", digests}, {"version", pin.version().label()}};
    }

    const FleetOptions& options_;
    const FleetPlace& place_;
    unsigned index_;
    std::vector<std::shared_ptr<HostBuffer>> buffers_;
    std::vector<std::span<std::byte>> slots_;
    std::map<std::string, Method> methods_;
};

}  // namespace

int run_receiver(Conversation& parent, const FleetOptions& options, const FleetPlace& place, unsigned index) {
    ReceiverProcess receiver(options, place, index);
    auto opened = receiver.open();
    if (!parent.send(opened ? Json{{"ready", true}} : error_message(opened.error())) || !opened) return 1;
    while (true) {
        auto message = parent.receive(Deadline::never());
        if (!message || message->value("do", "") == "quit") return 0;
        auto answer = receiver.handle(*message);
        if (!parent.send(answer ? *answer : error_message(answer.error()))) return 1;
    }
}

}  // namespace wsync
