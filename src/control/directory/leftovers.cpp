#include "control/directory/leftovers.hpp"

#include "control/directory/key_lock.hpp"
#include "control/directory/value_tree.hpp"
#include "control/keys.hpp"

#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::string_view kValues = "values";
constexpr std::string_view kValueSuffix = ",value";
constexpr int kMaxDepth = 256;  // segments that fit into a key

void sweep(const Folder& folder, const std::string& key, int depth) {
    const auto directory = key.empty() ? std::string(kValues) : fmt::format("{}/{}", kValues, key);
    const auto items = folder.list(directory);
    if (!items) return;
    if (items->empty()) return folder.prune(directory);
    const auto unfinished = std::string(kValueSuffix) + std::string(kTemporarySuffix);
    for (const auto& item : *items) {
        const auto child = [&](std::string_view name) { return key.empty() ? std::string(name) : fmt::format("{}/{}", key, name); };
        if (item.is_directory) {
            if (depth < kMaxDepth && is_key_segment(item.name)) sweep(folder, child(item.name), depth + 1);
            continue;
        }
        if (!item.name.ends_with(unfinished)) continue;
        const auto written = child(std::string_view(item.name).substr(0, item.name.size() - unfinished.size()));
        if (!check_key(written)) continue;
        const auto lock = KeyLock::take(folder, written, Deadline::now());
        if (!lock) continue;  // its writer is at it, or this process may not
        // Where there is a value its next writer replaces what was left beside it.
        if (const auto value = folder.read_file(value_path(written), kMaxValueFileBytes); !value || *value) continue;
        (void)folder.remove_file(value_path(written));
    }
}

}  // namespace

void remove_unfinished_values(const Folder& folder) { sweep(folder, "", 0); }

void remove_unfinished_leases(const Folder& folder) {
    const auto items = folder.list("leases");
    if (!items) return;
    for (const auto& item : *items) {
        if (!item.name.ends_with(kTemporarySuffix)) continue;
        const auto id = item.name.substr(0, item.name.size() - kTemporarySuffix.size());
        if (is_key_segment(id)) (void)folder.remove_file(fmt::format("leases/{}", id));
    }
}

}  // namespace wsync
