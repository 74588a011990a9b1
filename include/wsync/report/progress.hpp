// A progress bar as text; who prints it, and whether anybody looks, is the caller's business.
#pragma once

#include <string>
#include <string_view>

namespace wsync {

// "████████░░░░  67 %  moving policy@1.4": `width` characters in all, the text cut where it is too long. A fraction
// outside 0 to 1 is the nearer end.
[[nodiscard]] std::string progress_bar(double fraction, std::string_view text, std::size_t width);

}  // namespace wsync
