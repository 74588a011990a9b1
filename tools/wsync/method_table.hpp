// The table of measured methods that demo and bench print.
#pragma once

#include "measure/bench.hpp"

#include <string>

namespace wsync::tool {

[[nodiscard]] std::string method_table(const BenchResult& result);
// The methods' parts, each beside its own limit; empty when there are none.
[[nodiscard]] std::string part_table(const BenchResult& result);
// One bar a method, by stage, on a common scale.
[[nodiscard]] std::string stage_table(const BenchResult& result);
[[nodiscard]] std::string limit_table(const std::vector<Limit>& limits);

// Writes the document; Error names the path.
[[nodiscard]] Status write_document(const std::string& path, const Json& document);

}  // namespace wsync::tool
