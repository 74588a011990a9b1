#include "method_table.hpp"

#include "wsync/report/stage_bar.hpp"
#include "wsync/report/table.hpp"
#include "wsync/report/units.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fmt/format.h>

namespace wsync::tool {
namespace {

struct Words {
    std::string_view method, placement;
};

Words words_of(std::string_view id) {
    if (id == "shm_map") return {"shm, same pages", "co-located (as CUDA IPC)"};
    if (id == "shm_copy") return {"shm, copied", "same node"};
    if (id == "tcp") return {"tcp", "cross node (loopback)"};
    return {"disk, committed", "any"};
}

std::string limit_words(std::string_view limit) {
    if (limit == "M") return "memcpy";
    if (limit == "M2") return "memcpy, 2 threads";
    if (limit == "T") return "a socket";
    return "the disk";
}

std::string verified_words(const MethodResult& method) {
    if (method.verified == "identity") return "same pages";
    if (method.verified == "none") return "NOT VERIFIED";
    return "all bytes hashed";
}

std::string part_meaning(std::string_view id) {
    if (id == "first") return "a new receiver maps it, untouched";
    if (id == "first_whole") return "the same with session, layout and plan";
    if (id == "populate") return "then all its pages";
    if (id == "write_recycled") return "written over an old version, committed";
    if (id == "write_new") return "written to new files, committed";
    if (id == "read_cold") return "read, not cached";
    if (id == "read_warm") return "read, cached";
    return std::string(id);
}

std::string limit_meaning(std::string_view name) {
    if (name == "M") return "copy out of a shared mapping, 1 thread";
    if (name == "M2") return "copy out of a shared mapping, 2 threads";
    if (name == "D2") return "the same with XXH3-128, 2 threads";
    if (name == "T") return "a raw socket over loopback";
    if (name == "W") return "direct write and fdatasync, a new file";
    if (name == "W2") return "direct write and fdatasync, over an old file";
    if (name == "R") return "direct read, not cached";
    if (name == "P") return "read of a cached file, 2 threads";
    return "";
}

}  // namespace

std::string method_table(const BenchResult& result) {
    Table table({{"method"}, {"placement"}, {"seconds [min .. max]"}, {"GB/s", Table::Align::right}, {"of limit"}, {"bytes moved"},
                 {"extra memory: trainer / receiver"}, {"verified"}});
    for (const auto& method : result.methods) {
        const auto words = words_of(method.id);
        const bool map = method.id == "shm_map";
        const auto receiver_extra = method.receiver_extra + (map ? 0 : result.receiver_slab_bytes / 2);  // of two slabs, the engine has one anyway
        table.add({std::string(words.method), std::string(words.placement),
                   fmt::format("{} [{} .. {}]", show_seconds(method.seconds.median), show_seconds(method.seconds.min), show_seconds(method.seconds.max)),
                   map ? "-" : fmt::format("{:.1f}", method.bytes_per_second / 1e9),
                   method.shares.empty() ? "-" : fmt::format("{} of {}", show_percent(method.share_of_limit), limit_words(method.limit)),
                   map ? "handle, " + show_bytes(method.bytes_moved) : show_bytes(method.bytes_moved),
                   fmt::format("{} / {}", show_bytes(method.trainer_extra), show_bytes(receiver_extra)), verified_words(method)});
    }
    auto text = table.render();
    text += fmt::format("The trainer's slabs (snapshot and spare): {}. GB/s and share: record seen to active; seconds: the trainer's own digest and write too.\n",
                        show_bytes(result.trainer_slab_bytes));
    return text;
}

std::string part_table(const BenchResult& result) {
    Table table({{"part"}, {"of", Table::Align::left}, {"seconds [min .. max]"}, {"GB/s", Table::Align::right}, {"of limit"}});
    bool any = false;
    for (const auto& method : result.methods) {
        for (const auto& part : method.parts) {
            any = true;
            const auto spread = spread_of(part.seconds);
            table.add({part_meaning(part.id), method.id, fmt::format("{} [{} .. {}]", show_seconds(spread.median), show_seconds(spread.min), show_seconds(spread.max)),
                       part.limit.empty() ? "-" : fmt::format("{:.1f}", part.bytes_per_second / 1e9),
                       part.shares.empty() ? "-" : fmt::format("{} of {}", show_percent(median_of(part.shares)), part.limit)});
        }
    }
    return any ? table.render() : std::string();
}

std::string stage_table(const BenchResult& result) {
    double longest = 0;
    for (const auto& method : result.methods) longest = std::max(longest, method.steady.total());
    Table table({{"method"}, {"a letter for each stage, one scale"}, {"steady, medians"}});
    for (const auto& method : result.methods) table.add({method.id, stage_bar(method.steady, 40, longest), stage_words(method.steady)});
    return table.render();
}

std::string limit_table(const std::vector<Limit>& limits) {
    Table table({{"limit"}, {"what"}, {"GB/s [min .. max]", Table::Align::right}, {"best variant"}});
    for (const auto& limit : limits) {
        const auto spread = spread_of(limit.rounds);
        table.add({limit.name, limit_meaning(limit.name), fmt::format("{:.2f} [{:.2f} .. {:.2f}]", spread.median / 1e9, spread.min / 1e9, spread.max / 1e9), limit.variant});
    }
    return table.render();
}

Status write_document(const std::string& path, const Json& document) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) return errno_error(errno, "writing " + path);
    const auto text = document.dump(2) + "\n";
    const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    if (std::fclose(file) != 0 || !written) return errno_error(errno, "writing " + path);
    return {};
}

}  // namespace wsync::tool
