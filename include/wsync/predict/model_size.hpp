// How large the weights are, as a user says it: a size in GB, parameters times a type, or a manifest.
//
// A GB is 1e9 bytes. Pure functions and plain values; errors are Error{invalid_argument} whose message is one line
// that says what was given and what may be given instead.
#pragma once

#include "wsync/model/manifest.hpp"

#include <string>
#include <string_view>

namespace wsync {

struct ModelSize {
    std::string name;         // "140 GB", "70B parameters in FP16", "qwen3-8b"
    std::uint64_t bytes = 0;  // gigabytes, rounded to whole bytes
    double gigabytes = 0;     // exactly as given; what the formulas use

    friend bool operator==(const ModelSize&, const ModelSize&) = default;
};

// 140 GB: 70B parameters in FP16.
[[nodiscard]] ModelSize default_model_size();
// "140", "0.5", "1027.25", "1e3": from one byte to 9e9 GB.
[[nodiscard]] Result<ModelSize> model_size_from_gigabytes(std::string_view text);
// "70B" and "fp16": a count with K, M, B or T (powers of 1000) or none, and a type as people spell it.
[[nodiscard]] Result<ModelSize> model_size_from_parameters(std::string_view count, std::string_view dtype);
// Of a manifest that was read from somewhere; it must hold at least one byte.
[[nodiscard]] Result<ModelSize> model_size_of(std::string name, const Manifest& manifest);
// A time in seconds as a user types it: finite, 0 to 1e9. `what` names the option.
[[nodiscard]] Result<double> seconds_from(std::string_view what, std::string_view text);

}  // namespace wsync
