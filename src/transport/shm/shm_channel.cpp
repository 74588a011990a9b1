#include "transport/shm/shm_channel.hpp"

#include "transport/bounds.hpp"
#include "transport/wire/readiness.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <fmt/format.h>

namespace wsync::shm {
namespace {

// How much is copied between two looks at whether the exporter lives.
constexpr std::uint64_t kBytesBetweenLooks = 16ULL << 20;

// The generation, read after the bytes that were copied before.
std::uint64_t generation_after_reads(const SlabPage& page) {
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wtsan"  // orders reads of memory that tsan does not watch: another process writes it
#endif
    std::atomic_thread_fence(std::memory_order_acquire);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
    return page.generation.load(std::memory_order_acquire);
}

class ShmChannel final : public Channel {
public:
    ShmChannel(Attachment attachment, const KernelSet& kernels, std::size_t queue_depth)
        : slab_(std::move(attachment.slab)),
          data_(MappedSlab::region(slab_)),
          stream_(std::move(attachment.stream)),
          exporter_(std::move(attachment.exporter)),
          exporter_name_(std::move(attachment.exporter_name)),
          kernels_(kernels),
          queue_depth_(queue_depth) {}
    ~ShmChannel() override { close(); }

    Result<Region> map() override;
    Result<std::size_t> submit(std::span<const Transfer> transfers) override;
    Result<std::size_t> wait(std::span<Completion> out, Deadline deadline) override;
    void close() override;
    std::optional<std::uint64_t> generation() const override {
        if (!slab_) return std::nullopt;
        return slab_->page().generation.load(std::memory_order_acquire);
    }

private:
    void look_for_exporter();
    [[nodiscard]] Status check_generation(std::uint64_t expected, std::uint64_t found) const;
    [[nodiscard]] Result<std::optional<Digest>> copy(const Transfer& transfer);
    [[nodiscard]] Completion complete(const Transfer& transfer);

    std::shared_ptr<MappedSlab> slab_;  // null once closed
    Region data_;
    Stream stream_;
    UniqueFd exporter_;
    const std::string exporter_name_;
    const KernelSet& kernels_;
    const std::size_t queue_depth_;
    std::deque<Transfer> queue_;
    std::optional<Error> end_;          // why nothing is copied any more
    std::uint64_t bytes_since_look_ = 0;
};

Result<Region> ShmChannel::map() {
    if (!end_) look_for_exporter();
    if (end_) return *end_;
    return data_;
}

Result<std::size_t> ShmChannel::submit(std::span<const Transfer> transfers) {
    if (!slab_) return *end_;
    const std::size_t room = queue_depth_ - std::min(queue_depth_, queue_.size());
    const auto taken = transfers.first(std::min(room, transfers.size()));
    queue_.insert(queue_.end(), taken.begin(), taken.end());
    return taken.size();
}

Result<std::size_t> ShmChannel::wait(std::span<Completion> out, Deadline deadline) {
    if (!queue_.empty() && !end_) look_for_exporter();
    std::size_t filled = 0;
    while (filled < out.size() && !queue_.empty()) {
        // The first one is copied even by a poll: nobody else does it.
        if (filled > 0 && deadline.expired()) break;
        if (bytes_since_look_ >= kBytesBetweenLooks && !end_) look_for_exporter();
        out[filled++] = complete(queue_.front());
        queue_.pop_front();
    }
    return filled;
}

void ShmChannel::close() {
    if (!slab_) return;
    end_ = Error{Code::cancelled, "the channel is closed", {}};
    // Not only closed: a forked child may have a copy, and the exposer waits for the end.
    stream_.shut_down();
    stream_ = Stream(UniqueFd{}, {});
    exporter_.reset();
    slab_.reset();
    data_ = {};  // what map() gave away keeps the pages
}

void ShmChannel::look_for_exporter() {
    bytes_since_look_ = 0;
    std::array<pollfd, 2> ends{pollfd{exporter_.get(), POLLIN, 0}, pollfd{stream_.fd(), POLLIN | POLLRDHUP, 0}};
    const auto ready = wait_ready(ends, Deadline::now());
    if (!ready || !*ready) return;
    if (ends[0].revents != 0) {
        end_ = Error{Code::peer_lost, fmt::format("{}, whose slab this is, has died", exporter_name_), {}};
    } else {
        end_ = Error{Code::peer_lost, fmt::format("{} has withdrawn the slab or died", exporter_name_), {}};
    }
}

Status ShmChannel::check_generation(std::uint64_t expected, std::uint64_t found) const {
    if (expected == 0 || expected == found) return {};
    return Error{Code::corrupt, fmt::format("generation moved from {} to {}: the publisher wrote under the hold", expected, found), {}};
}

Result<std::optional<Digest>> ShmChannel::copy(const Transfer& transfer) {
    if (transfer.op != Op::read) return Error{Code::unsupported, "shm reads and maps; its peers' slabs can't be written", {}};
    if (transfer.after.value != 0) return Error{Code::unsupported, "shm has no fences: wait for device work before submitting", {}};
    WSYNC_TRY_VOID(check_transfer(transfer, data_.bytes));
    WSYNC_TRY_VOID(check_generation(transfer.generation, slab_->page().generation.load(std::memory_order_acquire)));
    const StridedRows rows{.to = transfer.local->address + transfer.local_offset,
                           .from = data_.address + transfer.remote_offset,
                           .to_stride = transfer.local_stride,
                           .from_stride = transfer.remote_stride,
                           .row_bytes = transfer.row_bytes,
                           .rows = transfer.rows};
    std::optional<Digest> digest;
    if (transfer.want_digest) {
        digest = copy_rows_digest(kernels_, rows);
    } else {
        copy_rows(kernels_, rows);
    }
    bytes_since_look_ += transfer.row_bytes * transfer.rows;
    WSYNC_TRY_VOID(check_generation(transfer.generation, generation_after_reads(slab_->page())));
    return digest;
}

Completion ShmChannel::complete(const Transfer& transfer) {
    Completion completion;
    completion.ticket = transfer.ticket;
    if (end_) {
        completion.status = *end_;
        return completion;
    }
    auto digest = copy(transfer);
    if (digest) {
        completion.digest = *std::move(digest);
    } else {
        completion.status = std::move(digest).error();
    }
    return completion;
}

}  // namespace

std::unique_ptr<Channel> make_channel(Attachment attachment, const KernelSet& kernels, std::size_t queue_depth) {
    return std::make_unique<ShmChannel>(std::move(attachment), kernels, std::max<std::size_t>(queue_depth, 1));
}

}  // namespace wsync::shm
