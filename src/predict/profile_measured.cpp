// The third kind of profile: this machine, as `wsync bench` found it.
#include "predict/figures.hpp"
#include "wsync/predict/measured.hpp"

#include <fmt/format.h>

namespace wsync {

namespace {

constexpr double kBytesPerGigabyte = 1e9;
constexpr const char* kTrainer = "trainer memory";
constexpr const char* kReceiver = "receiver memory";
constexpr const char* kMemoryEnds = "shared memory ends at the host; use tcp or disk";

std::string rate_note(const MeasuredMethod& measured) {
    const std::string receivers = measured.receivers > 1 ? fmt::format(" to each of {} receivers at once", measured.receivers) : "";
    const std::string before =
        measured.trainer_seconds ? fmt::format(", after {} for the trainer's snapshot and digest", fine_duration_text(*measured.trainer_seconds)) : "";
    return fmt::format("{} took {}{}{}", bytes_text(static_cast<double>(measured.bytes)), fine_duration_text(measured.seconds), receivers, before);
}

double rate_of(const MeasuredMethod& measured) { return static_cast<double>(measured.bytes) / measured.seconds / kBytesPerGigabyte; }

std::optional<double> limit_of(const MeasuredFigures& figures, const char* name) {
    const auto found = figures.limits.find(name);
    if (found == figures.limits.end()) return std::nullopt;
    return found->second / kBytesPerGigabyte;
}

// One flat method whose whole time goes with the size: measured, or bounded by the machine's limit.
std::optional<Method> flat_method(Method method, const MeasuredFigures& figures, const char* limit, const char* limit_words, std::vector<HopRule> path) {
    std::optional<double> rate;
    if (const auto* measured = figures.find(method.id)) {
        rate = rate_of(*measured);
        method.description += fmt::format("; measured: {}", rate_note(*measured));
    } else if ((rate = limit_of(figures, limit))) {
        method.description += fmt::format("; not run here: {}, limit {}", limit_words, limit);
    }
    if (!rate) return std::nullopt;
    method.gigabytes_per_second = rate;
    method.path = std::move(path);
    method.terms = {{"move", rate, 0, 0}};
    return method;
}

// Written and read back. Where the bench did not time the two apart, they share the time as the limits W and R stand to
// each other.
std::optional<Method> disk_method(const MeasuredFigures& figures) {
    Method method{.id = "disk", .name = "disk, committed", .description = "write a checkpoint and read it back", .gigabytes_per_second = {},
                  .setup_ms = 0, .works_across_nodes = true, .works_same_gpu = true, .link = "this machine's disk"};
    const auto write = limit_of(figures, "W");
    const auto read = limit_of(figures, "R");
    if (const auto* measured = figures.find("disk")) {
        const double rate = rate_of(*measured);
        double written = 0.5;
        const char* divided = ", divided by two";
        if (measured->write_seconds && *measured->write_seconds > 0 && *measured->write_seconds < measured->seconds) {
            written = *measured->write_seconds / measured->seconds;
            divided = "";
        } else if (write && read) {
            written = (1 / *write) / (1 / *write + 1 / *read);
            divided = ", divided as the limits W and R are";
        }
        method.description += fmt::format("; measured: {}{}", rate_note(*measured), divided);
        method.gigabytes_per_second = rate;
        method.terms = {{"write", rate / written, 0, 0}, {"read", rate / (1 - written), 0, 1}};
    } else if (write && read) {
        method.description += "; not run here: O_DIRECT write and cold read, limits W and R";
        method.gigabytes_per_second = 1 / (1 / *write + 1 / *read);
        method.terms = {{"write", *write, 0, 0}, {"read", *read, 0, 1}};
    } else {
        return std::nullopt;
    }
    method.path = {{kTrainer, "disk", true}, {"disk", kReceiver, true}};
    return method;
}

}  // namespace

Result<Profile> measured_profile(const MeasuredFigures& figures) {
    Profile profile;
    profile.name = figures.source;
    profile.origin = fmt::format("measured on this machine by wsync bench ({}), scaled by size", figures.source);
    if (const auto* handle = figures.find("shm_map")) {
        Method method{.id = "shm_map", .name = "shm, same pages",
                      .description = fmt::format("hand over a memfd handle, no transfer at all; measured: {}", rate_note(*handle)),
                      .gigabytes_per_second = {}, .setup_ms = handle->seconds * 1000, .works_across_nodes = false, .works_same_gpu = true,
                      .link = "host memory"};
        method.path = {{kTrainer, "same memory", false}};
        method.terms = {{"handle", {}, handle->seconds, 0}};
        method.why_not_across_nodes = kMemoryEnds;
        profile.methods.push_back(std::move(method));
    }
    if (auto method = flat_method({.id = "shm_copy", .name = "shm, copied", .description = "copy out of shared memory", .gigabytes_per_second = {},
                                   .setup_ms = 0, .works_across_nodes = false, .works_same_gpu = true, .link = "host memory",
                                   .why_not_across_nodes = kMemoryEnds},
                                  figures, "M", "a copy out of a shared mapping", {{kTrainer, kReceiver, true}})) {
        profile.methods.push_back(std::move(*method));
    }
    if (auto method = flat_method({.id = "tcp", .name = "tcp", .description = "one-sided reads over TCP sockets (loopback)",
                                   .gigabytes_per_second = {}, .setup_ms = 0, .works_across_nodes = true, .works_same_gpu = true,
                                   .link = "loopback"},
                                  figures, "T", "a raw socket over loopback", {{kTrainer, "network", true}, {"network", kReceiver, true}})) {
        profile.methods.push_back(std::move(*method));
    }
    if (auto method = disk_method(figures)) {
        profile.methods.push_back(std::move(*method));
        profile.reference_method = "disk";
    }
    if (profile.methods.empty()) {
        return Error{Code::invalid_argument,
                     fmt::format("{} measured none of shm_map, shm_copy, tcp, disk and no limit M, T, W, R: run `wsync bench --json`", figures.source), {}};
    }
    for (const auto* id : {"shm_map", "tcp"}) {
        for (const auto& method : profile.methods) {
            if (method.id == id) profile.timeline_methods.emplace_back(id);
        }
    }
    if (profile.timeline_methods.empty()) profile.timeline_methods.push_back(profile.methods.front().id);
    profile.transfers_per_iteration = 1;
    profile.transfers_reason = "counted once: what goes back from inference to training is samples (tokens, log-probabilities, rewards), not weights";
    return profile;
}

}  // namespace wsync
