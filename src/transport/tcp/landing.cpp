#include "transport/tcp/landing.hpp"

#include <cstring>

namespace wsync::tcp {

void Pieces::add(std::byte* at, std::size_t bytes) noexcept {
    bytes_ += bytes;
    if (count_ > 0) {
        auto& last = pieces_[count_ - 1];
        if (static_cast<std::byte*>(last.iov_base) + last.iov_len == at) {
            last.iov_len += bytes;
            return;
        }
    }
    pieces_[count_++] = {at, bytes};
}

std::span<std::byte> Pieces::take_scratch(std::size_t bytes) noexcept {
    const auto part = scratch_.subspan(scratch_used_, std::min(bytes, scratch_.size() - scratch_used_));
    scratch_used_ += part.size();
    return part;
}

Landing::Landing(std::byte* base, const Strided& rows, const KernelSet* kernels_for_digest)
    : base_(base), rows_(rows), kernels_(kernels_for_digest) {
    if (kernels_ != nullptr && rows_.total() > kOneShotBytes) hasher_.emplace();
}

std::size_t Landing::prepare(Pieces& pieces, std::size_t max_bytes) {
    scratch_ = {};
    prepared_ = 0;
    const auto left = std::min<std::uint64_t>(rows_.total() - at_, max_bytes);
    if (!rows_.flat() && rows_.row_bytes < kSmallRowBytes) {
        if (pieces.full()) return 0;
        scratch_ = pieces.take_scratch(left);
        if (!scratch_.empty()) pieces.add(scratch_.data(), scratch_.size());
        prepared_ = scratch_.size();
        return prepared_;
    }
    while (prepared_ < left && !pieces.full()) {
        const auto run = rows_.run_at(at_ + prepared_);
        const auto part = std::min(run.bytes, left - prepared_);
        pieces.add(base_ + run.offset, part);
        prepared_ += part;
    }
    return prepared_;
}

void Landing::landed(std::size_t bytes) {
    prepared_ = 0;
    if (!scratch_.empty()) {
        scatter(scratch_.first(bytes));
        if (hasher_) hasher_->update(scratch_.first(bytes));
        at_ += bytes;
        return;
    }
    if (hasher_) {
        for (std::uint64_t done = 0; done < bytes;) {
            const auto run = rows_.run_at(at_ + done);
            const auto part = std::min<std::uint64_t>(run.bytes, bytes - done);
            hasher_->update({base_ + run.offset, part});
            done += part;
        }
    }
    at_ += bytes;
}

void Landing::scatter(std::span<const std::byte> packed) {
    for (std::uint64_t done = 0; done < packed.size();) {
        const auto run = rows_.run_at(at_ + done);
        const auto part = std::min<std::uint64_t>(run.bytes, packed.size() - done);
        std::memcpy(base_ + run.offset, packed.data() + done, part);
        done += part;
    }
}

std::optional<Digest> Landing::digest() {
    if (kernels_ == nullptr) return std::nullopt;
    if (hasher_) return hasher_->finish();
    if (rows_.flat()) return kernels_->digest(base_ + rows_.offset, rows_.total());
    return digest_rows(*kernels_, base_ + rows_.offset, rows_.stride, rows_.row_bytes, rows_.rows);
}

}  // namespace wsync::tcp
