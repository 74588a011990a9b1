// The walk's figures, three columns each: said, computed, measured.
#pragma once

#include "wsync/predict/compare.hpp"
#include "wsync/predict/timeline.hpp"
#include "wsync/predict/tutorial.hpp"

namespace wsync {

class TutorialFigures {
public:
    // `measured` may be null and must outlive the object.
    [[nodiscard]] static Result<TutorialFigures> make(const ModelSize& model, const MeasuredFigures* measured);

    [[nodiscard]] const std::vector<StandIn>& stand_ins() const noexcept { return stand_ins_; }
    [[nodiscard]] std::vector<TutorialFigure> stand_in_figures() const;
    [[nodiscard]] std::vector<std::string> measured_notes() const;
    [[nodiscard]] TutorialFigure method_figure(std::string_view id) const;
    [[nodiscard]] TutorialFigure hop_figure(const MethodPrediction& prediction, std::size_t hop) const;
    [[nodiscard]] std::vector<TutorialFigure> stage_figures(const MethodPrediction& prediction) const;
    [[nodiscard]] std::vector<TutorialFigure> handle_figures() const;
    [[nodiscard]] std::vector<TutorialFigure> gather_figures() const;
    [[nodiscard]] std::vector<TutorialFigure> timeline_figures(const Timeline& line) const;

private:
    // What the bench's method would take for this size; none if it was not measured.
    [[nodiscard]] const MethodPrediction* measured_method(std::string_view bench_id) const;
    [[nodiscard]] const StandIn& stand_in_of(std::string_view tutorial_id) const;
    // Fills both measured members from a stand-in's prediction.
    void measure(TutorialFigure& figure, std::string_view tutorial_id) const;
    // Fills the rows of verl's flow, and adds the two ways' times.
    void measure_gather(std::vector<TutorialFigure>& rows, const MeasuredGather& gather) const;
    // Fills a stage that a live measurement saw apart from the method's whole.
    void measure_stage(TutorialFigure& row, std::string_view id, std::string_view stage) const;
    // What it takes to gather `share` of this size into one rank, at the rate that was measured.
    [[nodiscard]] std::optional<double> gather_seconds(const MeasuredGather& gather, double share) const;
    // What an empty measured cell says: how to fill it, or that nothing will.
    [[nodiscard]] std::string unmeasured(bool measurable) const;

    ModelSize model_;
    const MeasuredFigures* measured_ = nullptr;
    std::vector<StandIn> stand_ins_;
    std::vector<MethodPrediction> here_;  // the measured profile's methods for this size
};

}  // namespace wsync
