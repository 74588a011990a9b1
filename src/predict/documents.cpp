// wsync.compare/1 and wsync.timeline/1, as docs/json.md has them.
#include "predict/documents.hpp"
#include "wsync/predict/compare.hpp"
#include "wsync/predict/timeline.hpp"

namespace wsync {

namespace {

template <class T>
OrderedJson or_null(const std::optional<T>& value) {
    return value ? OrderedJson(*value) : OrderedJson(nullptr);
}

OrderedJson json_value(const MethodPrediction& prediction) {
    const Method& method = prediction.method;
    OrderedJson stages = OrderedJson::object();
    for (const auto& [name, seconds] : prediction.stages) stages[name] = seconds;
    OrderedJson path = OrderedJson::array();
    for (const auto& hop : prediction.path) {
        OrderedJson row;
        row["from"] = hop.from;
        row["to"] = hop.to;
        row["bytes"] = hop.bytes;
        row["seconds"] = hop.seconds;
        path.push_back(std::move(row));
    }
    OrderedJson row;
    row["id"] = method.id;
    row["name"] = method.name;
    row["description"] = method.description;
    row["gigabytes_per_second"] = or_null(method.gigabytes_per_second);
    row["setup_ms"] = method.setup_ms;
    row["works_across_nodes"] = method.works_across_nodes;
    row["works_same_gpu"] = method.works_same_gpu;
    row["link"] = or_null(method.link);
    row["seconds"] = prediction.seconds;
    row["verdict"] = prediction.verdict;
    row["percent_of_disk"] = or_null(prediction.percent_of_disk);
    row["feasible"] = prediction.feasible;
    row["reason"] = prediction.feasible ? OrderedJson(nullptr) : OrderedJson(prediction.reason);
    row["stages"] = std::move(stages);
    row["path"] = std::move(path);
    return row;
}

OrderedJson json_value(const Timeline& line) {
    OrderedJson document;
    document["schema"] = "wsync.timeline/1";
    document["profile"] = line.profile;
    document["model"] = json_value(line.model);
    document["method"] = line.method;
    document["method_name"] = line.method_name;
    document["generation_seconds"] = line.generation_seconds;
    document["training_seconds"] = line.training_seconds;
    document["transfer_seconds"] = line.transfer_seconds;
    document["transfers_per_iteration"] = line.transfers_per_iteration;
    document["iteration_seconds"] = line.iteration_seconds;
    document["overhead_percent"] = line.overhead_percent;
    return document;
}

}  // namespace

OrderedJson json_value(const ModelSize& model) {
    OrderedJson value;
    value["name"] = model.name;
    value["bytes"] = model.bytes;
    return value;
}

// A name may be a path, and a path need not be UTF-8.
std::string document_text(const OrderedJson& value) { return value.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n"; }

std::string json_of(const Comparison& comparison) {
    OrderedJson placements = OrderedJson::array();
    for (const auto& placement : comparison.placements) {
        OrderedJson methods = OrderedJson::array();
        for (const auto& prediction : placement.methods) methods.push_back(json_value(prediction));
        OrderedJson row;
        row["placement"] = name_of(placement.placement);
        row["methods"] = std::move(methods);
        placements.push_back(std::move(row));
    }
    OrderedJson document;
    document["schema"] = "wsync.compare/1";
    document["profile"] = comparison.profile;
    document["model"] = json_value(comparison.model);
    document["placements"] = std::move(placements);
    return document_text(document);
}

std::string json_of(const Timeline& line) { return document_text(json_value(line)); }

std::string json_of(const std::vector<Timeline>& lines) {
    OrderedJson list = OrderedJson::array();
    for (const auto& line : lines) list.push_back(json_value(line));
    return document_text(list);
}

}  // namespace wsync
