// The options by which compare, timeline and tutorial are told how large the weights are, and by what profile to judge.
#pragma once

#include "wsync/predict/measured.hpp"
#include "wsync/predict/model_size.hpp"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

namespace wsync::tool {

// -m/--model-size GB | --params N --dtype T | --model M; without any, the tutorial's 140 GB.
struct ModelArgument {
    std::string gigabytes, parameters, dtype, model;
    CLI::Option *gigabytes_option = nullptr, *parameters_option = nullptr, *dtype_option = nullptr, *model_option = nullptr;

    // `models` adds --model.
    void add_to(CLI::App& command, bool models);
    // Error{invalid_argument} says what may be given.
    [[nodiscard]] Result<ModelSize> size() const;
};

// "tutorial", "tutorial-stages", or the path of a wsync.bench/1 document.
[[nodiscard]] Result<Profile> load_profile(const std::string& name);
// Error{invalid_argument} for a file that is not there or is no such document: it was named on the command line.
[[nodiscard]] Result<MeasuredFigures> load_measured(const std::string& path);

}  // namespace wsync::tool
