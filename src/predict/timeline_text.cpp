#include "predict/figures.hpp"
#include "wsync/predict/compare.hpp"
#include "wsync/predict/timeline.hpp"

#include <fmt/format.h>

namespace wsync {

std::string text_of(const Timeline& line) {
    const std::string size = bytes_text(static_cast<double>(line.model.bytes));
    std::string text = fmt::format("RLHF iteration with {}\n\n", line.method_name);
    text += columns_text({{"model", size == line.model.name ? size : fmt::format("{} ({})", size, line.model.name)},
                          {"profile", line.profile},
                          {"method", fmt::format("{} ({})", line.method_name, line.method)},
                          {"generation", duration_text(line.generation_seconds)},
                          {"training", duration_text(line.training_seconds)},
                          {"transfer", fine_duration_text(line.transfer_seconds)}},
                         2);
    text += fmt::format("\n  {}\n\n", bar_of(line));
    std::vector<std::vector<std::string>> rows;
    for (const auto& phase : line.phases) rows.push_back({phase.name, fine_duration_text(phase.seconds)});
    rows.push_back({"total", iteration_text(line.iteration_seconds)});
    rows.push_back({"transfer overhead", overhead_text(line.overhead_percent)});
    text += columns_text(rows, 2);
    text += fmt::format("\n  The transfer is {}.\n", line.transfers_reason);
    return text;
}

}  // namespace wsync
