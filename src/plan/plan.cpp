#include "wsync/plan/plan.hpp"

#include "plan/mapping.hpp"
#include "plan/planner.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>

namespace wsync {
namespace {

// Few update calls for many small fields: a plan may have a million steps.
class StepHasher {
public:
    void number(std::uint64_t value) {
        if (used_ + 8 > buffer_.size()) flush();
        for (unsigned i = 0; i < 8; ++i) buffer_[used_++] = static_cast<std::byte>(value >> (8 * i));
    }
    void numbers(const Dims& dims) {
        for (std::uint64_t value : dims) number(value);
    }
    void digest(const Digest& value) {
        flush();
        hasher_.update(std::as_bytes(std::span(value.bytes)));
    }
    Digest finish() {
        flush();
        return hasher_.finish();
    }

private:
    void flush() {
        hasher_.update(std::span(buffer_).first(used_));
        used_ = 0;
    }
    Hasher hasher_;
    std::array<std::byte, 4096> buffer_;
    std::size_t used_ = 0;
};

Digest digest_steps(const Layout& source, const Layout& sink, const std::vector<Copy>& copies, const std::vector<Fill>& fills) {
    StepHasher hasher;
    hasher.digest(source.digest());
    hasher.digest(sink.digest());
    hasher.number(copies.size());
    for (const Copy& copy : copies) {
        hasher.number(std::uint64_t{copy.source_shard} << 32 | copy.sink_shard);
        hasher.number(copy.source_box.size.size());
        hasher.numbers(copy.source_box.offset);
        hasher.numbers(copy.sink_box.offset);
        hasher.numbers(copy.sink_box.size);
    }
    hasher.number(fills.size());
    for (const Fill& fill : fills) {
        hasher.number(std::uint64_t{fill.sink_shard} << 8 | std::to_integer<std::uint64_t>(fill.value));
        hasher.number(fill.sink_box.size.size());
        hasher.numbers(fill.sink_box.offset);
        hasher.numbers(fill.sink_box.size);
    }
    return hasher.finish();
}

Result<std::vector<bool>> planned_sinks(const Layout& sink, const std::vector<std::uint32_t>& ranks) {
    std::vector<bool> planned(sink.ranks(), ranks.empty());
    for (std::uint32_t rank : ranks) {
        if (rank >= sink.ranks()) {
            return Error{Code::invalid_argument, fmt::format("a plan was asked for sink rank {}, the sink has {} ranks", rank, sink.ranks()), {}};
        }
        if (planned[rank]) return Error{Code::invalid_argument, fmt::format("a plan was asked for sink rank {} twice", rank), {}};
        planned[rank] = true;
    }
    return planned;
}

std::string human(std::uint64_t bytes) {
    static constexpr std::array<std::string_view, 6> kUnits{"B", "KB", "MB", "GB", "TB", "PB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1000 && unit + 1 < kUnits.size()) value /= 1000, ++unit;
    return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.2f} {}", value, kUnits[unit]);
}

// Each rank where they are few, else the least, the mean and the most.
std::string loads(std::string_view side, const std::vector<std::uint64_t>& bytes) {
    constexpr std::size_t kListed = 16;
    std::string line(side);
    if (bytes.size() <= kListed) {
        for (std::size_t rank = 0; rank < bytes.size(); ++rank) line += fmt::format("{} rank {} {}", rank == 0 ? "" : ",", rank, human(bytes[rank]));
        return line + "\n";
    }
    const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
    double sum = 0;
    for (std::uint64_t b : bytes) sum += static_cast<double>(b);
    return line + fmt::format(" {} ranks, least {} (rank {}), mean {}, most {} (rank {})\n", bytes.size(), human(*least), least - bytes.begin(),
                              human(static_cast<std::uint64_t>(sum / static_cast<double>(bytes.size()))), human(*most), most - bytes.begin());
}

}  // namespace

std::string Plan::summary(const Layout& source, const Layout& sink) const {
    const auto active = [](const std::vector<std::uint64_t>& bytes) {
        return std::count_if(bytes.begin(), bytes.end(), [](std::uint64_t b) { return b != 0; });
    };
    std::string text = fmt::format("plan {}: {} copies ({}) and {} fills ({}), {} tensors at the sink\n", digest_.short_hex(), copies_.size(),
                                   human(copied_bytes_), fills_.size(), human(filled_bytes_), sink.manifest().size());
    text += fmt::format("{} of {} source ranks send, {} of {} sink ranks receive\n", active(by_source_), source.ranks(), active(by_sink_), sink.ranks());
    text += loads("send:", by_source_);
    text += loads("receive:", by_sink_);
    return text;
}

Result<Plan> make_plan(const Layout& source, const Layout& sink, const Mapping& mapping, const PlanOptions& options) {
    WSYNC_TRY(const auto planned, planned_sinks(sink, options.sink_ranks));
    WSYNC_TRY(const auto resolved, ResolvedMapping::make(source.manifest(), sink.manifest(), mapping));
    Planner planner(source, sink, resolved, planned, options.replica_seed);
    WSYNC_TRY_VOID(planner.run());
    Plan plan;
    plan.copies_ = std::move(planner.copies);
    plan.fills_ = std::move(planner.fills);
    plan.copied_bytes_ = planner.copied_bytes;
    plan.filled_bytes_ = planner.filled_bytes;
    plan.by_source_ = std::move(planner.by_source);
    plan.by_sink_ = std::move(planner.by_sink);
    plan.digest_ = digest_steps(source, sink, plan.copies_, plan.fills_);
    return plan;
}

}  // namespace wsync
