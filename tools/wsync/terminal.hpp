// What the terminal can show: progress bars and colours only where somebody looks.
#pragma once

#include <string>
#include <string_view>

namespace wsync::tool {

[[nodiscard]] bool is_terminal_out() noexcept;   // standard output, NO_COLOR unset, TERM not dumb

// "**text**" in bold on a terminal, plain elsewhere.
[[nodiscard]] std::string bold(std::string_view text);
[[nodiscard]] std::string green(std::string_view text);
[[nodiscard]] std::string red(std::string_view text);

// A line that is drawn again and again on standard error; nothing where that is no terminal. Cleared when destroyed.
class ProgressLine {
public:
    ProgressLine();
    ~ProgressLine();
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    void show(double fraction, std::string_view what);
    void clear();

private:
    bool on_ = false, drawn_ = false;
};

}  // namespace wsync::tool
