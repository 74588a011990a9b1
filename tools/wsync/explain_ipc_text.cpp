#include "explain_text.hpp"

#include "terminal.hpp"
#include "wsync/report/table.hpp"
#include "wsync/report/units.hpp"

#include <fmt/format.h>
#include <tuple>

namespace wsync::tool {
namespace {

// The tutorial's example: 140 GB, and NVLink's line rate.
constexpr double kTutorialBytes = 140e9;

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
    return text.empty() ? "none" : text;
}

std::string fields_table(const IpcExplanation& found) {
    Table table({{"the tutorial's field"}, {"the real thing"}, {"here"}});
    table.add({"device", "kind of memory, and whose", fmt::format("{} (memfd), host {}, boot {}", found.kind, found.host, found.boot_id.substr(0, 8))});
    table.add({"virtual address", "device and inode of the allocation", fmt::format("device {}, inode {} ({})", found.exporter.page.device, found.exporter.page.inode,
                                                                                    found.exporter.page.object)});
    table.add({"size and stride", "offset and length in one slab",
               fmt::format("slab of {} B; {} {} {}: offset {}, {} B, rows packed", found.slab_bytes, found.tensor, found.dtype, found.shape.to_string(),
                           found.tensor_offset, found.tensor_bytes)});
    table.add({"reference counter", "holds, and seals", fmt::format("holds: {} before, {} while mapped, {} after; seals: {}", found.holds_before, found.holds_during,
                                                                   found.holds_after, joined(found.exporter.seals))});
    return table.render();
}

std::string page_table(const IpcExplanation& found) {
    Table table({{""}, {"exporter"}, {"importer"}, {""}});
    const auto row = [&](std::string what, std::string ours, std::string theirs, std::string verdict) {
        table.add({std::move(what), std::move(ours), std::move(theirs), std::move(verdict)});
    };
    const auto& [a, b] = std::tie(found.exporter, found.importer);
    row("process", fmt::format("pid {}", a.pid), fmt::format("pid {}", b.pid), "two");
    row("virtual address", fmt::format("{:#x}", a.page.address), fmt::format("{:#x}", b.page.address),
        a.page.address == b.page.address ? "equal by chance: they name nothing outside their process" : "they differ");
    row("mapped", a.page.permissions, b.page.permissions, "read-only while it is published; the exporter's turns writable for a write");
    row("device, inode", fmt::format("{} {}", a.page.device, a.page.inode), fmt::format("{} {}", b.page.device, b.page.inode), found.same_object() ? "the same object" : "DIFFER");
    row("offset in it", fmt::format("{:#x}", a.page.file_offset), fmt::format("{:#x}", b.page.file_offset), a.page.file_offset == b.page.file_offset ? "the same place" : "DIFFER");
    const auto frame = [](const IpcSide& side) { return side.frame ? fmt::format("{:#x}", *side.frame) : std::string("not told"); };
    const auto same = found.same_frame();
    row("physical frame", frame(a), frame(b), !same ? "the kernel tells it to CAP_SYS_ADMIN alone" : *same ? "one physical page" : "DIFFER");
    row("8 bytes of it", "wrote " + found.written, "read " + found.read, found.written == found.read ? "no message carried them" : "DIFFER");
    row("digest of all bytes", a.digest.substr(0, 16), b.digest.substr(0, 16), a.digest == b.digest ? "every byte agrees" : "DIFFER");
    return table.render();
}

std::string figures_table(const IpcExplanation& found) {
    Table table({{""}, {"the tutorial says"}, {"measured here"}});
    table.add({"bytes of a handle", "~100 bytes", fmt::format("{} B, one for {} tensor{}", found.handle_bytes, found.tensors, found.tensors == 1 ? "" : "s")});
    table.add({"time to open it", "~1 ms", fmt::format("{}: attach and map", spread_text(found.open_seconds))});
    table.add({"bytes moved", "0 of 140 GB", fmt::format("{} of {}, all of them read; private memory grew by {}: tables of the layout, once", found.weight_bytes_moved(),
                                                         show_bytes(found.bytes), show_bytes(found.importer_rss_anon_growth))});
    const double rate = static_cast<double>(found.copied_bytes) / found.copy_seconds.median;
    table.add({"the traditional copy", "140 GB / 450 GB/s = 311 ms",
               fmt::format("{} in {}: {}, so 140 GB in {}", show_bytes(found.copied_bytes), spread_text(found.copy_seconds), show_rate(rate), show_seconds(kTutorialBytes / rate))});
    table.add({"the next version", "the same handle", fmt::format("{} B moved, {}, private memory grew by {}; {} to every byte read again", found.moved_later,
                                                                  found.same_address_later ? "the same addresses" : "other addresses",
                                                                  show_bytes(found.later_rss_anon_growth), show_seconds(found.later_seconds))});
    return table.render();
}

}  // namespace

std::string spread_text(const Spread& spread) {
    return fmt::format("{} [{} .. {}]", show_seconds(spread.median), show_seconds(spread.min), show_seconds(spread.max));
}

std::string text_of(const IpcExplanation& found) {
    std::string text = fmt::format("{}\n{} · {} tensors, {} · two processes, one slab\n", bold(found.machine), found.model, found.tensors, show_bytes(found.bytes));
    text += fmt::format("\n{}\n{}", bold("what a handle holds"), fields_table(found));
    text += fmt::format("\n{}\n{}", bold("one page, two addresses"), page_table(found));
    text += fmt::format("\n{}\n{}", bold("what it costs"), figures_table(found));
    text += fmt::format("\n{}\n", bold("what keeps it right"));
    text += fmt::format("  A write while the importer held it was refused after {}: {}\n", show_seconds(found.refused_after_seconds), found.refused_write);
    text += fmt::format("\n{}\n", bold("its limits"));
    text += "  The same GPU; here, where a memfd takes the part of GPU memory, the same host. On another host: " + found.other_host + "\n";
    text += "  A living exporter. After its end: " + found.gone + "\n";
    text += fmt::format("  One handle for each GPU's slab: {} here. A trainer of N ranks hands over N (wsync explain fsdp).\n", found.handles);
    return text;
}

}  // namespace wsync::tool
