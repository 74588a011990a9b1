// The tutorial's walk, with every figure three times: what the tutorial says, what its formula gives for this size, and
// what was measured here (or what stands in for it here, and why).
//
// Pure functions of values: the measured column comes from a MeasuredFigures that somebody else filled.
#pragma once

#include "wsync/predict/measured.hpp"
#include "wsync/predict/model_size.hpp"

namespace wsync {

struct TutorialFigure {
    std::string label = {};
    std::string says = {};     // the tutorial, for its 140 GB
    std::string formula = {};  // for the size that was asked for
    std::optional<double> formula_seconds = {};
    std::string measured = {};
    std::optional<double> measured_seconds = {};
};

struct TutorialTable {
    std::string title = {};
    std::vector<TutorialFigure> figures = {};
    std::vector<std::string> notes = {};  // printed below
};

struct TutorialSection {
    std::string id;  // "co-located", "insight", "ipc", "verl", "timeline-cuda_ipc", ...
    std::string title = {};
    std::vector<std::string> paragraphs;
    std::vector<TutorialTable> tables;
    std::vector<std::string> drawings;
};

// What was measured in place of a method of the tutorial that this machine can't run.
struct StandIn {
    std::string method;    // the tutorial's id
    std::string measured = {};  // the bench's id; empty: nothing
    std::string why;
};

struct Tutorial {
    ModelSize model;
    std::string measured_source;  // empty: nothing was measured yet
    std::vector<StandIn> stand_ins;
    std::vector<TutorialSection> sections;
};

// `measured` may be null: the measured column then says how to fill it.
[[nodiscard]] Result<Tutorial> make_tutorial(const ModelSize& model, const MeasuredFigures* measured);

[[nodiscard]] std::string text_of(const Tutorial& tutorial);
// wsync.tutorial/1 (docs/json.md).
[[nodiscard]] std::string json_of(const Tutorial& tutorial);

}  // namespace wsync
