#include "predict/documents.hpp"
#include "predict/figures.hpp"
#include "wsync/predict/tutorial.hpp"

#include <fmt/format.h>

namespace wsync {

namespace {

constexpr std::size_t kWidth = 110;

std::string table_text(const TutorialTable& table, const ModelSize& model) {
    std::string text;
    if (!table.title.empty()) text += table.title + "\n";
    std::vector<std::vector<std::string>> rows = {{"", "the tutorial says", fmt::format("its formula, {}", bytes_text(static_cast<double>(model.bytes))), "measured here"}};
    for (const auto& figure : table.figures) rows.push_back({figure.label, figure.says, figure.formula, figure.measured});
    if (rows.size() > 1) text += columns_text(rows, 2);
    for (const auto& note : table.notes) text += wrapped(note, 2, kWidth);
    return text;
}

template <class T>
OrderedJson or_null(const std::optional<T>& value) {
    return value ? OrderedJson(*value) : OrderedJson(nullptr);
}

OrderedJson json_value(const TutorialFigure& figure) {
    OrderedJson row;
    row["label"] = figure.label;
    row["tutorial"] = figure.says;
    row["formula"] = figure.formula;
    row["formula_seconds"] = or_null(figure.formula_seconds);
    row["measured"] = figure.measured;
    row["measured_seconds"] = or_null(figure.measured_seconds);
    return row;
}

}  // namespace

std::string text_of(const Tutorial& tutorial) {
    std::string text;
    unsigned number = 0;
    for (const auto& section : tutorial.sections) {
        const std::string title = number == 0 ? section.title : fmt::format("{}. {}", number, section.title);
        text += fmt::format("{}{}\n{}\n", number == 0 ? "" : "\n", title, std::string(title.size(), '='));
        ++number;
        for (const auto& paragraph : section.paragraphs) text += wrapped(paragraph, 0, kWidth);
        for (const auto& drawing : section.drawings) text += "\n  " + drawing + "\n";
        for (const auto& table : section.tables) text += "\n" + table_text(table, tutorial.model);
    }
    return text;
}

std::string json_of(const Tutorial& tutorial) {
    OrderedJson document;
    document["schema"] = "wsync.tutorial/1";
    document["model"] = json_value(tutorial.model);
    document["measured"] = tutorial.measured_source.empty() ? OrderedJson(nullptr) : OrderedJson(tutorial.measured_source);
    document["stand_ins"] = OrderedJson::array();
    for (const auto& stand_in : tutorial.stand_ins) {
        OrderedJson row;
        row["method"] = stand_in.method;
        row["measured"] = stand_in.measured.empty() ? OrderedJson(nullptr) : OrderedJson(stand_in.measured);
        row["why"] = stand_in.why;
        document["stand_ins"].push_back(std::move(row));
    }
    document["sections"] = OrderedJson::array();
    for (const auto& section : tutorial.sections) {
        OrderedJson part;
        part["id"] = section.id;
        part["title"] = section.title;
        part["text"] = section.paragraphs;
        part["tables"] = OrderedJson::array();
        for (const auto& table : section.tables) {
            OrderedJson rows = OrderedJson::array();
            for (const auto& figure : table.figures) rows.push_back(json_value(figure));
            OrderedJson one;
            one["title"] = table.title;
            one["figures"] = std::move(rows);
            one["notes"] = table.notes;
            part["tables"].push_back(std::move(one));
        }
        document["sections"].push_back(std::move(part));
    }
    return document_text(document);
}

}  // namespace wsync
