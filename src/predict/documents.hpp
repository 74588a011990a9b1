// JSON words that the documents of this room share.
#pragma once

#include "wsync/predict/model_size.hpp"

#include <nlohmann/json.hpp>

namespace wsync {

using OrderedJson = nlohmann::ordered_json;

// {"name", "bytes"}
[[nodiscard]] OrderedJson json_value(const ModelSize& model);
// Indented, with a newline at the end; what is not UTF-8 is replaced.
[[nodiscard]] std::string document_text(const OrderedJson& value);

}  // namespace wsync
