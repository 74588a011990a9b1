// JSON from outside, checked before a document is built of it: size, depth, duplicate keys, syntax.
#pragma once

#include "wsync/base/result.hpp"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

namespace wsync {

struct JsonLimits {
    std::size_t max_bytes = 1U << 20;
    std::size_t max_depth = 32;
};

// The document. Error{corrupt} says what is wrong at which byte; `what` names the text ("config.json").
[[nodiscard]] Result<nlohmann::json> parse_json(std::string_view text, std::string_view what, JsonLimits limits = {});

// The library's words on bad syntax, short and on one line: "syntax error at byte 17: unexpected ...".
[[nodiscard]] std::string syntax_complaint(std::size_t position, std::string_view library_words);

}  // namespace wsync
