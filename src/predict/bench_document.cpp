// wsync.bench/1 -> MeasuredFigures. The document may come from anywhere: size, depth, duplicates and numbers are checked.
#include "model/json_check.hpp"
#include "wsync/predict/measured.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace wsync {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kLargestDocument = 16u << 20;
constexpr std::size_t kDeepest = 32;
// `wsync bench` writes the first, `wsync bench limits` the second: limits without methods.
constexpr std::string_view kFamilies[] = {"wsync.bench/", "wsync.limits/"};
constexpr std::string_view kMajor = "1";

Error corrupt(std::string_view source, std::string_view what) {
    return Error{Code::corrupt, fmt::format("{}: {}; write a new one with `wsync bench --json`", source, what), {}};
}

Result<Json> parse(std::string_view text, std::string_view source) {
    WSYNC_TRY(Json document, parse_json(text, source, {.max_bytes = kLargestDocument, .max_depth = kDeepest}));
    if (!document.is_object()) return corrupt(source, "not a JSON object");
    return document;
}

Status check_schema(const Json& document, std::string_view source) {
    const auto schema = document.find("schema");
    if (schema == document.end() || !schema->is_string()) return corrupt(source, "has no schema");
    const auto& name = schema->get_ref<const std::string&>();
    const std::string_view view = name;
    std::string_view version;
    for (const auto family : kFamilies) {
        if (view.substr(0, family.size()) == family) version = view.substr(family.size());
    }
    if (version.substr(0, version.find('.')) != kMajor) {
        return Error{Code::unsupported,
                     fmt::format("{} has schema '{}', this wsync reads wsync.bench/1: a profile is what `wsync bench --json` writes", source,
                                 name.substr(0, 60)),
                     {}};
    }
    return {};
}

const Json* member(const Json& object, const char* key) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

// A figure that must be a finite number above zero (`zero` allows none) where it is present at all.
Result<std::optional<double>> figure(const Json& object, const char* key, std::string_view source, std::string_view where, bool zero = false) {
    const Json* value = member(object, key);
    if (value == nullptr) return std::optional<double>{};
    const double number = value->is_number() ? value->get<double>() : -1;
    if (!std::isfinite(number) || number < 0 || (number == 0 && !zero)) {
        return corrupt(source, fmt::format("{}.{} is not a {} number", where, key, zero ? "finite" : "positive"));
    }
    return std::optional<double>{number};
}

// OBJECT.KEY.median
Result<std::optional<double>> median(const Json& object, const char* key, std::string_view source, std::string_view where) {
    const Json* spread = member(object, key);
    if (spread == nullptr) return std::optional<double>{};
    return figure(*spread, "median", source, fmt::format("{}.steady.{}", where, key));
}

Result<MeasuredMethod> read_method(const Json& entry, std::string_view source, std::size_t index) {
    const std::string where = fmt::format("methods[{}]", index);
    MeasuredMethod method;
    const Json* id = member(entry, "id");
    if (id == nullptr || !id->is_string()) return corrupt(source, where + " has no id");
    method.id = id->get<std::string>();
    if (const Json* transport = member(entry, "transport"); transport != nullptr && transport->is_string()) method.transport = transport->get<std::string>();
    WSYNC_TRY(const auto bytes, figure(entry, "bytes", source, where));
    if (!bytes || *bytes > 9e18) return corrupt(source, where + " has no size in bytes");
    method.bytes = static_cast<std::uint64_t>(*bytes);
    WSYNC_TRY(const auto receivers, figure(entry, "receivers", source, where));
    method.receivers = receivers ? static_cast<unsigned>(std::min(*receivers, 1e6)) : 1;
    const Json* steady = member(entry, "steady");
    if (steady == nullptr) return corrupt(source, where + " has no steady syncs");
    WSYNC_TRY(const auto all_stages, median(*steady, "seconds", source, where));
    if (!all_stages) return corrupt(source, where + " has no steady.seconds.median");
    WSYNC_TRY(const auto hand_over, median(*steady, "hand_over_seconds", source, where));
    WSYNC_TRY(const auto rate, figure(entry, "bytes_per_second", source, where));
    const Json* stages = member(*steady, "stages");
    if (stages != nullptr && method.id == "disk") {
        WSYNC_TRY(method.write_seconds, figure(*stages, "expose", source, where + ".steady.stages", true));
    }
    // A version on disk is written before it is announced; what is done in other stages before is the publisher's own.
    if (hand_over) {
        method.seconds = *hand_over + method.write_seconds.value_or(0);
        if (*all_stages > method.seconds) method.trainer_seconds = *all_stages - method.seconds;
    } else {
        method.write_seconds.reset();
        method.seconds = rate && method.id != "disk" ? static_cast<double>(method.bytes) * method.receivers / *rate : *all_stages;
    }
    if (const Json* first = member(entry, "first"); first != nullptr && first->is_object()) {
        if (const Json* total = member(*first, "seconds"); total != nullptr && total->is_number()) {
            WSYNC_TRY(method.first_seconds, figure(*first, "seconds", source, where + ".first"));
        }
    }
    for (const Json* holder : {steady, &entry}) {
        if (method.bytes_moved) break;
        WSYNC_TRY(const auto moved, figure(*holder, "bytes_moved", source, where, true));
        if (moved && *moved <= 9e18) method.bytes_moved = static_cast<std::uint64_t>(*moved);
    }
    return method;
}

}  // namespace

const MeasuredMethod* MeasuredFigures::find(std::string_view id) const {
    const auto found = methods.find(std::string(id));
    return found == methods.end() ? nullptr : &found->second;
}

Result<MeasuredFigures> measured_from_bench(std::string_view json_text, std::string source) {
    WSYNC_TRY(const Json document, parse(json_text, source));
    WSYNC_TRY_VOID(check_schema(document, source));
    MeasuredFigures figures;
    if (const Json* limits = member(document, "limits"); limits != nullptr) {
        if (!limits->is_object()) return corrupt(source, "limits is not an object");
        for (const auto& [name, limit] : limits->items()) {
            WSYNC_TRY(const auto rate, figure(limit, "bytes_per_second", source, "limits." + name));
            if (rate) figures.limits[name] = *rate;
        }
    }
    if (const Json* methods = member(document, "methods"); methods != nullptr) {
        if (!methods->is_array()) return corrupt(source, "methods is not an array");
        for (std::size_t index = 0; index < methods->size(); ++index) {
            WSYNC_TRY(MeasuredMethod method, read_method((*methods)[index], source, index));
            figures.methods.insert_or_assign(method.id, std::move(method));
        }
    }
    figures.source = std::move(source);
    return figures;
}

}  // namespace wsync
