// What the walk says and in which order. The figures that the tutorial prints are written down here as it prints them;
// those of its formula are computed, so that a difference would show.
#include "wsync/predict/tutorial.hpp"

#include "predict/figures.hpp"
#include "predict/tutorial_figures.hpp"
#include "wsync/predict/compare.hpp"
#include "wsync/predict/timeline.hpp"

#include <fmt/format.h>

namespace wsync {

namespace {

TutorialSection comparison_section(const TutorialFigures& source, Architecture placement, const Comparison& comparison) {
    TutorialSection section;
    section.id = name_of(placement);
    section.title = fmt::format("{}: {}", name_of(placement), description_of(placement));
    switch (placement) {
        case Architecture::co_located:
            section.paragraphs = {
                "One GPU does both jobs in turn, in two processes. The tutorial keeps all six methods, so the question is only what they cost. "
                "(NCCL itself refuses two ranks on one GPU: docs/tutorial.md.)"};
            break;
        case Architecture::disaggregated_same_node:
            section.paragraphs = {
                "Trainer and inference each have GPUs of their own on one host. The tutorial keeps all six here, the IPC handle too; whether a "
                "handle helps depends on peer access between the two GPUs, and the bytes then cross NVLink when they are read."};
            break;
        case Architecture::disaggregated_cross_node:
            section.paragraphs = {"Two hosts share neither memory nor NVLink, so what is left must go over a wire or through storage."};
            break;
    }
    TutorialTable table{"", {}, {}};
    for (const auto& prediction : comparison.placements.front().methods) {
        if (!prediction.feasible) {
            table.notes.push_back(fmt::format("not here: {}: {}", prediction.method.name, prediction.reason));
            continue;
        }
        TutorialFigure figure = source.method_figure(prediction.method.id);
        figure.label = prediction.method.name;
        figure.formula = fmt::format("{}  {}", figure.formula, prediction.verdict);
        table.figures.push_back(std::move(figure));
    }
    section.tables.push_back(std::move(table));
    return section;
}

TutorialSection insight_section(const TutorialFigures& source, const Comparison& comparison, const Comparison& staged) {
    TutorialSection section;
    section.id = "insight";
    section.title = "the key insight: count the hops";
    section.paragraphs = {
        "The cost of a method is the path that the bytes take. Each hop reads and writes all of them once: through a disk there are four hops, "
        "through a network two, and with a handle none at all: the receiver is told where the bytes are and looks at the same memory.",
        "That is why a handle costs the same for any size. What it leaves out: the trainer's weights are usually sharded and must first be "
        "gathered, and the engine's loader usually copies what it is shown (docs/tutorial.md)."};
    TutorialTable paths{"the three paths", {}, {"the formula has one bandwidth for a whole path; the hop that it describes carries all of its time"}};
    for (const auto* id : {"disk_ssd", "nccl_ib", "cuda_ipc"}) {
        for (const auto& prediction : comparison.placements.front().methods) {
            if (prediction.method.id != id) continue;
            for (std::size_t hop = 0; hop < prediction.path.size(); ++hop) paths.figures.push_back(source.hop_figure(prediction, hop));
        }
    }
    section.tables.push_back(std::move(paths));
    TutorialTable stages{"the tutorial's staged example (profile tutorial-stages)", {}, {}};
    for (const auto& prediction : staged.placements.front().methods) {
        for (auto& figure : source.stage_figures(prediction)) stages.figures.push_back(std::move(figure));
        stages.notes.push_back(fmt::format("{}: {}", prediction.method.id, prediction.method.description));
    }
    section.tables.push_back(std::move(stages));
    return section;
}

TutorialSection ipc_section(const TutorialFigures& source) {
    TutorialSection section;
    section.id = "ipc";
    section.title = "CUDA IPC handles";
    section.paragraphs = {
        "A handle is a small record by which one process can open memory that another one owns. The tutorial gives it four fields:",
        "- device: which GPU holds the memory. Without a GPU wsync says the kind of memory (memfd) instead, and its host.",
        "- virtual address: where the owner sees the allocation. The other process maps it wherever it has room, so an address means nothing to "
        "it; what names the memory is the allocation: here the memfd's device and inode.",
        "- size and stride: which part is meant. wsync hands over one slab with all tensors in it, and an offset and a length for each.",
        "- reference counter: whether somebody still reads. wsync's word for it is a hold: the trainer writes again only when none is left; seals "
        "keep the slab from shrinking under a reader.",
        "Limits: the handle works on the same GPU only (here: on the same host), and each GPU's slab needs a handle of its own."};
    section.tables.push_back({"", source.handle_figures(), {}});
    return section;
}

TutorialSection verl_section(const TutorialFigures& source) {
    TutorialSection section;
    section.id = "verl";
    section.title = "verl's flow: sharded trainer, co-located inference";
    section.paragraphs = {
        "1. Each of the N trainer ranks holds a part of the weights: shard i lies on rank i mod N.",
        "2. An all-gather puts the whole tensors on every rank: this moves bytes, and needs room for them, before any handle exists.",
        "3. Each rank makes handles of what it gathered, and the coordinator collects them: some hundred bytes each.",
        "4. Inference opens the handles: the same pages under other addresses.",
        "5. The engine loads from them: usually a copy into its own tensors, and then the gathered ones can go.",
        "Three things make it harder than it looks. Lifetimes: the gathered tensors must live until the last reader is done, and must not be "
        "written meanwhile. Memory: for a moment whole tensors lie beside the shards. Coordination: every rank has to take part in the gather, "
        "and inference waits for the slowest one."};
    section.tables.push_back({"", source.gather_figures(), {"shard to shard, as wsync plans it, there is no gather: each byte moves once, to the rank that needs it"}});
    return section;
}

}  // namespace

Result<Tutorial> make_tutorial(const ModelSize& model, const MeasuredFigures* measured) {
    WSYNC_TRY(const TutorialFigures source, TutorialFigures::make(model, measured));
    Tutorial tutorial;
    tutorial.model = model;
    if (measured != nullptr) tutorial.measured_source = measured->source;
    tutorial.stand_ins = source.stand_ins();

    TutorialSection banner;
    banner.id = "banner";
    banner.title = "wsync tutorial: how new weights get from the trainer to inference";
    banner.paragraphs = {
        "RLHF alternates. Inference generates samples, the trainer learns from them, and then inference needs the new weights. Three mechanisms "
        "carry them (disk, network, shared memory), six methods in all, in three placements.",
        fmt::format("Model: {}. Beside each figure stand three columns: what the tutorial says (it takes 140 GB, 70B parameters in FP16), what its "
                    "formula gives for this size (milliseconds = GB / (GB/s) x 1000 + set-up; a GB is 1e9 bytes), and what was measured here.",
                    model.name)};
    banner.tables.push_back({"what was measured here in place of what", source.stand_in_figures(), source.measured_notes()});
    tutorial.sections.push_back(std::move(banner));

    const Profile profile = tutorial_profile();
    for (const auto placement : kArchitectures) {
        WSYNC_TRY(const Comparison comparison, compare(profile, model, {{placement}, {}}));
        tutorial.sections.push_back(comparison_section(source, placement, comparison));
    }
    WSYNC_TRY(const Comparison comparison, compare(profile, model, {{Architecture::co_located}, {}}));
    WSYNC_TRY(const Comparison staged, compare(tutorial_stages_profile(), model, {{Architecture::co_located}, {}}));
    tutorial.sections.push_back(insight_section(source, comparison, staged));
    tutorial.sections.push_back(ipc_section(source));
    tutorial.sections.push_back(verl_section(source));
    WSYNC_TRY(const auto lines, timelines(profile, model));
    for (const auto& line : lines) {
        TutorialSection section;
        section.id = "timeline-" + line.method;
        section.title = fmt::format("one RLHF iteration with {}", line.method_name);
        section.drawings = {bar_of(line)};
        section.tables.push_back({"", source.timeline_figures(line),
                                  {"the tutorial counts the transfer twice; measured, it counts once: what goes back is samples, not weights"}});
        tutorial.sections.push_back(std::move(section));
    }
    return tutorial;
}

}  // namespace wsync
