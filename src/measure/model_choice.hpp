// What people name when they say "the model": a catalogue id, a checkpoint, a config.json, a size, or equal tensors.
#pragma once

#include "wsync/model/manifest.hpp"

#include <string>

namespace wsync {

struct ModelChoice {
    std::string name;        // for reports
    Manifest manifest;
    std::string checkpoint;  // the path, where there are real weights
};

// "qwen2.5-0.5b"; the path of a safetensors file, a directory with an index, or a config.json; "0.5GB", "140GB";
// "20000x48KiB" (equal bf16 tensors). Error{invalid_argument} says what there is.
[[nodiscard]] Result<ModelChoice> choose_model(const std::string& text);

}  // namespace wsync
