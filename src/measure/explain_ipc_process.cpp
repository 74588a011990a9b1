// The exporter publishes in place; the importer maps, holds, opens the handle again and again, and copies once for comparison.
#include "measure/explain_ipc_process.hpp"

#include "base/parallel.hpp"
#include "measure/synthetic_weights.hpp"
#include "memory/host_buffer.hpp"
#include "memory/memory_limit.hpp"
#include "sync/epoch.hpp"
#include "transport/shm/shm_transport.hpp"
#include "transport/wire/descriptor.hpp"
#include "wsync/model/placement.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

namespace wsync {
namespace {

using Clock = Deadline::clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

constexpr std::size_t kMarkerBytes = 8;

std::string hex(std::span<const std::byte> bytes) {
    std::string text;
    for (const auto byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
    return text;
}

// What one side knows of the page behind `address`, and of all the bytes it sees.
Result<Json> side_of(const std::byte* address, std::span<const Digest> digests) {
    WSYNC_TRY(const auto page, mapped_page(address));
    WSYNC_TRY(const auto seals, seals_of(page));
    Hasher all;
    for (const auto& digest : digests) all.update(std::as_bytes(std::span(digest.bytes)));
    Json side{{"pid", ::getpid()}, {"address", page.address}, {"map_begin", page.map_begin}, {"file_offset", page.file_offset}};
    side.update({{"permissions", page.permissions}, {"device", page.device}, {"inode", page.inode}, {"object", page.object}});
    side.update({{"seals", seals}, {"digest", all.finish().hex()}});
    if (const auto frame = physical_frame(address)) side["frame"] = *frame;
    return side;
}

Result<Session> open_session(const IpcPlace& place) {
    SessionOptions session;
    session.control = place.control;
    session.socket_directory = place.sockets;
    session.tcp_host.clear();  // one host: one handle, by shm
    return Session::open(session);
}

class Exporter {
public:
    Exporter(const ExplainIpcOptions& options, const IpcPlace& place) : options_(options), place_(place) {}

    Status open() {
        WSYNC_TRY(auto session, open_session(place_));
        session_.emplace(std::move(session));
        PublisherOptions publisher;
        publisher.name = kIpcName;
        WSYNC_TRY(publisher.source, Layout::replicated(options_.manifest, 1));
        publisher.slabs = 1;
        publisher.threads = options_.threads;
        publisher.huge_pages = options_.huge_pages;
        WSYNC_TRY(auto made, session_->publisher(publisher));
        publisher_.emplace(std::move(made));
        return {};
    }

    Result<Json> handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "publish") return publish(message);
        if (what == "side") return side();
        if (what == "holds") return Json{{"holds", publisher_->holds()}};
        if (what == "try_write") return try_write(message);
        return Error{Code::invalid_argument, "the exporter does not know how to " + what, {}};
    }

private:
    Result<Json> publish(const Json& message) {
        WSYNC_TRY(auto write, publisher_->begin_write({.deadline = std::chrono::seconds(20)}));
        const auto step = message.value("step", std::uint64_t{1});
        std::string written;
        if (step == 1) {
            std::vector<std::uint32_t> tensors;
            for (std::size_t i = 0; i < write.size(); ++i) {
                tensors.push_back(options_.manifest.find(write.shard(i).name).value_or(0));
                if (tensors.back() == place_.example) example_ = i;
                shards_.push_back(write.shard(i).bytes);
            }
            parallel_for(shards_.size(), options_.threads, [&](std::size_t i) { fill_trained(options_.manifest[tensors[i]], 1, shards_[i]); });
        } else {
            // Nothing but this: eight bytes through the exporter's own address.
            const auto marker = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count()) | 1;
            const auto page = shards_[example_].first(std::min(kMarkerBytes, shards_[example_].size()));
            std::memcpy(page.data(), &marker, page.size());
            written = hex(page);
        }
        WSYNC_TRY(auto version, publisher_->publish(std::move(write), {.step = step}));
        return Json{{"label", version.label()}, {"written", written}};
    }

    Result<Json> side() {
        std::vector<Digest> digests(shards_.size());
        parallel_for(shards_.size(), options_.threads, [&](std::size_t i) { digests[i] = digest_of(shards_[i]); });
        return side_of(shards_[example_].data(), digests);
    }

    // A training step that comes while somebody reads.
    Result<Json> try_write(const Json& message) {
        const auto begin = Clock::now();
        auto write = publisher_->begin_write({.deadline = std::chrono::milliseconds(message.value("deadline_ms", 100))});
        const double waited = seconds_since(begin);
        if (write) return Error{Code::internal, "a slab could be written while the importer held it", {}};
        return Json{{"code", name_of(write.error().code)}, {"message", write.error().message}, {"seconds", waited}};
    }

    const ExplainIpcOptions& options_;
    const IpcPlace& place_;
    std::optional<Session> session_;
    std::optional<Publisher> publisher_;
    std::vector<std::span<std::byte>> shards_;  // of the one slab: the same for every version
    std::size_t example_ = 0;
};

class Importer {
public:
    Importer(const ExplainIpcOptions& options, const IpcPlace& place) : options_(options), place_(place) {}

    Status open() {
        WSYNC_TRY(auto session, open_session(place_));
        session_.emplace(std::move(session));
        ReceiverOptions receiver;
        receiver.name = kIpcName;
        receiver.id = "the importer";
        receiver.use = Use::map_then_install;
        receiver.transports = {"shm"};
        receiver.budget.threads = options_.threads;
        WSYNC_TRY(auto made, session_->receiver(receiver));
        receiver_.emplace(std::move(made));
        // An engine's own memory, there before any handle comes; the copy goes into it.
        WSYNC_TRY(const auto layout, Layout::replicated(options_.manifest, 1));
        WSYNC_TRY(const auto packed, pack(layout, 0));
        HostBufferOptions own;
        own.bytes = packed.bytes();
        own.prefault_threads = options_.threads;
        WSYNC_TRY(own_, HostBuffer::make(own).within("making the importer's own memory"));
        return {};
    }

    Result<Json> handle(const Json& message) {
        const auto what = message.value("do", "");
        if (what == "hold") return hold();
        if (what == "release") {
            staged_.reset();
            return Json{{"released", true}};
        }
        if (what == "open") return open_again();
        if (what == "copy") return copy();
        if (what == "refusal") return refusal(message);
        return Error{Code::invalid_argument, "the importer does not know how to " + what, {}};
    }

private:
    // Stages the newest version by its handle, reads every byte of it, and keeps the hold.
    Result<Json> hold() {
        const auto before = kernel_memory();
        WSYNC_TRY(auto staged, receiver_->stage({.deadline = std::chrono::seconds(20)}));
        staged_.emplace(std::move(staged));
        const auto tensors = staged_->tensors();
        std::vector<Digest> digests(tensors.size());
        parallel_for(tensors.size(), options_.threads, [&](std::size_t i) { digests[i] = digest_of(tensors[i].bytes); });
        WSYNC_TRY(const auto example, tensors.find(options_.manifest[place_.example].name));
        WSYNC_TRY(auto answer, side_of(example.bytes.data(), digests));
        const auto after = kernel_memory();
        answer["rss_anon_growth"] = before && after && after->rss_anon > before->rss_anon ? after->rss_anon - before->rss_anon : 0;
        answer["bytes_moved"] = staged_->report().bytes_moved;
        answer["verification"] = name_of(staged_->report().verification);
        answer["read"] = hex(example.bytes.first(std::min(kMarkerBytes, example.bytes.size())));
        return answer;
    }

    // The handle as the control plane has it, and the secret that opens it.
    Status find_handle() {
        if (transport_) return {};
        WSYNC_TRY(auto control, open_control(place_.control));
        WSYNC_TRY(const auto epoch, read_epoch(*control, std::string(kIpcName)));
        WSYNC_TRY(const auto rank, read_rank(*control, std::string(kIpcName), epoch.epoch, 0));
        for (const auto& slab : rank.slabs) {
            for (const auto& descriptor : slab)
                if (descriptor.transport == "shm") descriptors_.push_back(descriptor);
        }
        if (descriptors_.size() != 1) return Error{Code::internal, fmt::format("{} shm handles of one slab", descriptors_.size()), {}};
        ShmOptions shm;
        shm.socket_directory = place_.sockets;
        shm.secret = epoch.secret;
        WSYNC_TRY(transport_, make_shm_transport(std::move(shm)));
        return {};
    }

    Result<Json> open_again() {
        WSYNC_TRY_VOID(find_handle());
        std::vector<double> seconds;
        for (int i = 0; i < options_.opens; ++i) {
            const auto begin = Clock::now();
            WSYNC_TRY(auto channel, transport_->attach(descriptors_.front(), {}));
            WSYNC_TRY(const auto region, channel->map());
            seconds.push_back(seconds_since(begin));
            if (region.bytes == 0) return Error{Code::corrupt, "the handle opened nothing", {}};
        }
        WSYNC_TRY(const auto served, decode_descriptor(descriptors_.front(), "shm"));
        Json answer{{"seconds", seconds}, {"handle_bytes", descriptors_.front().bytes.size()}, {"handles", descriptors_.size()}};
        answer.update({{"kind", name_of(served.kind)}, {"host", served.process.host}, {"boot_id", served.process.boot_id}, {"slab_bytes", served.region_bytes}});
        return answer;
    }

    // The same bytes, copied: what a handle saves.
    Result<Json> copy() {
        WSYNC_TRY_VOID(find_handle());
        WSYNC_TRY(auto channel, transport_->attach(descriptors_.front(), {}));
        WSYNC_TRY(const auto from, channel->map());
        const auto to = HostBuffer::region(own_);
        if (to.bytes < from.bytes) return Error{Code::internal, fmt::format("the handle opens {} bytes, the model has {}", from.bytes, to.bytes), {}};
        std::vector<double> seconds;
        for (int i = 0; i <= options_.copies; ++i) {
            Transfer transfer;
            transfer.local = &to;
            transfer.row_bytes = from.bytes;
            const auto begin = Clock::now();
            WSYNC_TRY(const auto taken, channel->submit(std::span(&transfer, 1)));
            Completion completion;
            WSYNC_TRY(const auto done, channel->wait(std::span(&completion, 1), std::chrono::minutes(2)));
            if (taken != 1 || done != 1) return Error{Code::internal, "the copy was not taken", {}};
            WSYNC_TRY_VOID(std::move(completion.status));
            if (i > 0) seconds.push_back(seconds_since(begin));  // the first one fills page tables
        }
        if (std::memcmp(to.address, from.address, from.bytes) != 0) return Error{Code::corrupt, "the copy differs from the slab", {}};
        return Json{{"seconds", seconds}, {"bytes", from.bytes}};
    }

    // What the handle is told where it can't work.
    Result<Json> refusal(const Json& message) {
        WSYNC_TRY_VOID(find_handle());
        Descriptor descriptor = descriptors_.front();
        if (message.value("of", "") == "other_host") {
            WSYNC_TRY(auto served, decode_descriptor(descriptor, "shm"));
            served.process.boot_id = "00000000-0000-0000-0000-000000000000";
            served.process.host = "another-host";
            WSYNC_TRY(descriptor, encode_descriptor(served));
        }
        auto channel = transport_->attach(descriptor, {.deadline = std::chrono::seconds(5)});
        if (channel) return Error{Code::internal, "a handle worked where it must not", {}};
        return Json{{"message", fmt::format("{}: {}", name_of(channel.error().code), channel.error().message)}};
    }

    const ExplainIpcOptions& options_;
    const IpcPlace& place_;
    std::optional<Session> session_;
    std::optional<Receiver> receiver_;
    std::optional<StagedVersion> staged_;
    std::vector<Descriptor> descriptors_;
    std::unique_ptr<Transport> transport_;
    std::shared_ptr<HostBuffer> own_;
};

}  // namespace

int run_ipc_exporter(Conversation& parent, const ExplainIpcOptions& options, const IpcPlace& place) {
    Exporter exporter(options, place);
    return answer_parent(parent, [&] { return exporter.open(); }, [&](const Json& message) { return exporter.handle(message); });
}

int run_ipc_importer(Conversation& parent, const ExplainIpcOptions& options, const IpcPlace& place) {
    Importer importer(options, place);
    return answer_parent(parent, [&] { return importer.open(); }, [&](const Json& message) { return importer.handle(message); });
}

}  // namespace wsync
