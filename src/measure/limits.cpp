#include "measure/limits.hpp"

#include "measure/limit_variants.hpp"
#include "store/directory_check.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace wsync {
namespace {

constexpr std::array<std::string_view, 8> kNames = {"M", "M2", "D2", "T", "W", "W2", "R", "P"};

Status check(const LimitOptions& options) {
    if (options.bytes == 0 || options.bytes % 4096 != 0) {
        return Error{Code::invalid_argument, fmt::format("limits: {} bytes are not a positive multiple of 4096", options.bytes)};
    }
    if (options.rounds < 1) return Error{Code::invalid_argument, fmt::format("limits: {} rounds give no figure; ask for at least 1", options.rounds)};
    return {};
}

Result<LimitVariants> variants_of(LimitKind kind, const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers) {
    switch (kind) {
        case LimitKind::copy_1:
        case LimitKind::copy_2:
        case LimitKind::copy_digest_2: return memory_variants(kind, options, std::move(buffers));
        case LimitKind::socket: return socket_variants(options, std::move(buffers));
        case LimitKind::write_fresh:
        case LimitKind::write_recycled:
        case LimitKind::read_cold:
        case LimitKind::read_warm: return disk_variants(kind, options, std::move(buffers));
    }
    return Error{Code::invalid_argument, "no such limit"};
}

std::string measuring(LimitKind kind) { return fmt::format("measuring {}", name_of(kind)); }

}  // namespace

std::string_view name_of(LimitKind kind) noexcept { return kNames[static_cast<std::size_t>(kind)]; }

std::optional<LimitKind> limit_kind_of(std::string_view name) noexcept {
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        if (kNames[i] == name) return static_cast<LimitKind>(i);
    }
    return std::nullopt;
}

double median_of(std::vector<double> values) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    auto middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Result<std::shared_ptr<LimitBuffers>> LimitBuffers::make(std::uint64_t bytes) {
    auto buffers = std::make_shared<LimitBuffers>();
    WSYNC_TRY(buffers->slab, SharedSlab::make({.bytes = bytes, .name = "wsync-limits", .populate_threads = 2}));
    WSYNC_TRY(buffers->buffer, HostBuffer::make({.bytes = bytes, .prefault_threads = 2, .role = "limits"}));
    // Not zeros: no layer below may take a short cut.
    auto words = *SharedSlab::region(buffers->slab).host_bytes();
    std::uint64_t value = 0x9e3779b97f4a7c15;
    for (std::size_t at = 0; at + sizeof value <= words.size(); at += sizeof value) {
        value = value * 6364136223846793005ULL + 1442695040888963407ULL;
        std::memcpy(&words[at], &value, sizeof value);
    }
    std::memcpy(buffers->buffer->bytes().data(), words.data(), words.size());
    UniqueFd descriptor(::fcntl(buffers->slab->fd(), F_DUPFD_CLOEXEC, 0));
    if (!descriptor) return errno_error(errno, "duplicating a slab's descriptor");
    WSYNC_TRY(buffers->mapped, MappedSlab::map(std::move(descriptor), {.populate = true}));
    return buffers;
}

Result<LimitProbe> LimitProbe::make(LimitKind kind, const LimitOptions& options, std::shared_ptr<LimitBuffers> buffers) {
    WSYNC_TRY_VOID(check(options).within(measuring(kind)));
    if (buffers == nullptr) {
        WSYNC_TRY(buffers, LimitBuffers::make(options.bytes).within(measuring(kind)));
    } else if (buffers->buffer->bytes().size() < options.bytes) {
        return Error{Code::invalid_argument, fmt::format("measuring {}: its buffers have {} bytes, {} are to be moved", name_of(kind),
                                                         buffers->buffer->bytes().size(), options.bytes)};
    }
    WSYNC_TRY(auto variants, variants_of(kind, options, std::move(buffers)).within(measuring(kind)));
    return LimitProbe(kind, std::move(variants));
}

Result<double> LimitProbe::run_once() {
    for (std::size_t i = 0; i < variants_.size(); ++i) {
        auto& variant = variants_[(i + turn_) % variants_.size()];
        WSYNC_TRY(auto rate, variant.run().within(fmt::format("measuring {} ({})", name_of(kind_), variant.name)));
        variant.rounds.push_back(rate);
    }
    ++turn_;
    return variants_[best()].rounds.back();
}

std::size_t LimitProbe::best() const {
    std::size_t best = 0;
    for (std::size_t i = 1; i < variants_.size(); ++i) {
        if (median_of(variants_[i].rounds) > median_of(variants_[best].rounds)) best = i;
    }
    return best;
}

void LimitProbe::keep_best() {
    if (variants_.front().rounds.empty()) return;
    auto winner = std::move(variants_[best()]);
    variants_.clear();
    variants_.push_back(std::move(winner));
}

Result<Limit> LimitProbe::limit() const {
    const auto& winner = variants_[best()];
    if (winner.rounds.empty()) return Error{Code::invalid_argument, fmt::format("{} has not been run yet", name_of(kind_))};
    return Limit{std::string(name_of(kind_)), median_of(winner.rounds), winner.name, winner.rounds};
}

Result<std::vector<Limit>> measure_limits(const LimitOptions& options) {
    WSYNC_TRY_VOID(check(options));
    WSYNC_TRY_VOID(check_directory(options.directory, "the probes' files"));
    WSYNC_TRY(auto buffers, LimitBuffers::make(options.bytes).within("measuring limits"));
    std::vector<LimitProbe> probes;
    for (auto kind : options.which) {
        WSYNC_TRY(auto probe, LimitProbe::make(kind, options, buffers));
        probes.push_back(std::move(probe));
    }
    for (int round = 0; round < options.rounds; ++round) {
        for (std::size_t i = 0; i < probes.size(); ++i) {
            WSYNC_TRY(auto rate, probes[i].run_once());
            if (options.progress) {
                options.progress(fmt::format("{} round {} of {}: {:.2f} GB/s", name_of(options.which[i]), round + 1, options.rounds, rate / 1e9));
            }
        }
    }
    std::vector<Limit> limits;
    for (const auto& probe : probes) {
        WSYNC_TRY(auto limit, probe.limit());
        limits.push_back(std::move(limit));
    }
    return limits;
}

const KernelSet& best_kernels(std::span<const LimitProbe::Variant> variants) {
    constexpr double kClearly = 1.1;
    const auto* best = &default_kernels();
    const auto base = std::find_if(variants.begin(), variants.end(), [&](const auto& v) { return v.name == best->name; });
    if (base == variants.end()) return *best;
    double most = kClearly;
    for (const auto& variant : variants) {
        std::vector<double> ratios;
        for (std::size_t i = 0; i < std::min(variant.rounds.size(), base->rounds.size()); ++i) ratios.push_back(variant.rounds[i] / base->rounds[i]);
        const auto* set = find_kernels(variant.name);
        const auto ratio = median_of(std::move(ratios));
        if (set == nullptr || ratio < most) continue;
        most = ratio;
        best = set;
    }
    return *best;
}

Result<const KernelSet*> choose_kernels(std::uint64_t bytes) {
    LimitOptions options;
    options.bytes = bytes;
    WSYNC_TRY(auto probe, LimitProbe::make(LimitKind::copy_digest_2, options));
    for (int round = 0; round < options.rounds; ++round) {
        WSYNC_TRY(const auto rate, probe.run_once());
        (void)rate;
    }
    return &best_kernels(probe.variants());
}

}  // namespace wsync
