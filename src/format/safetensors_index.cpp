#include "format/safetensors_index.hpp"

#include "format/strict_sax.hpp"
#include "model/utf8.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::size_t kMaxNameBytes = 1024;
constexpr std::size_t kMaxFileNameBytes = 255;

bool is_tensor_name(std::string_view name) { return !name.empty() && name.size() <= kMaxNameBytes && name.find('\0') == std::string_view::npos; }

class IndexReader final : public StrictSax {
public:
    [[nodiscard]] SafetensorsIndex& index() { return index_; }
    [[nodiscard]] bool has_weight_map() const { return weight_map_seen_; }

    bool start_object(std::size_t) override {
        switch (at_) {
            case At::begin: at_ = At::sections; return true;
            case At::metadata: at_ = At::metadata_keys; return true;
            case At::weight_map: at_ = At::tensors; return true;
            default: return unexpected("an object");
        }
    }
    bool end_object() override {
        switch (at_) {
            case At::metadata_keys:
            case At::tensors: at_ = At::sections; return true;
            case At::sections: at_ = At::done; return true;
            default: return unexpected("the end of an object");
        }
    }
    bool key(string_t& name) override {
        name_ = std::move(name);
        switch (at_) {
            case At::sections:
                if (name_ == "metadata") return begin_section(At::metadata, metadata_seen_);
                if (name_ == "weight_map") return begin_section(At::weight_map, weight_map_seen_);
                at_ = At::other_section;
                return true;
            case At::metadata_keys:
                at_ = name_ == "total_size" ? At::total_size : At::other_metadata;
                if (at_ == At::total_size && index_.total_size) return refuse("\"total_size\" occurs twice");
                return true;
            case At::tensors:
                if (!is_tensor_name(name_)) return refuse(fmt::format("{} is not the name of a tensor (1 to {} bytes without NUL)", in_quotes(name_, 32), kMaxNameBytes));
                if (index_.weight_map.count(name_) != 0) return refuse(fmt::format("tensor {} occurs twice in \"weight_map\"", in_quotes(name_)));
                at_ = At::file;
                return true;
            default: return unexpected("a key");
        }
    }
    bool string(string_t& text) override {
        if (at_ != At::file) return skip("a string");
        if (!is_plain_file_name(text)) return refuse(fmt::format("the file {} of tensor {} is not a plain name in the index's own folder", in_quotes(text), in_quotes(name_)));
        index_.weight_map.emplace(std::move(name_), std::move(text));
        at_ = At::tensors;
        return true;
    }
    bool number_unsigned(number_unsigned_t number) override {
        if (at_ != At::total_size) return skip("a number");
        index_.total_size = number;
        at_ = At::metadata_keys;
        return true;
    }
    bool number_float(number_float_t number, const string_t& text) override {
        // Some writers have 1234.0 here.
        if (at_ == At::total_size && number >= 0 && number < 9007199254740992.0 && number == std::floor(number)) {
            return number_unsigned(static_cast<number_unsigned_t>(number));
        }
        return at_ == At::total_size ? StrictSax::number_float(number, text) : skip("a number");
    }
    bool number_integer(number_integer_t) override { return skip("a negative number"); }
    bool null() override { return skip("null"); }
    bool boolean(bool) override { return skip("a boolean"); }

private:
    enum class At { begin, sections, metadata, metadata_keys, total_size, other_metadata, weight_map, tensors, file, other_section, done };

    [[nodiscard]] std::string where() const override {
        switch (at_) {
            case At::begin: return "place of the index: it must be an object";
            case At::metadata: return "place of \"metadata\": it must be an object";
            case At::metadata_keys: return "\"metadata\"";
            case At::total_size: return "\"total_size\": it must be a whole number of bytes";
            case At::other_metadata: return fmt::format("\"metadata\" at {}", in_quotes(name_));
            case At::weight_map: return "place of \"weight_map\": it must be an object";
            case At::tensors: return "\"weight_map\"";
            case At::file: return fmt::format("\"weight_map\" at {}: it must be the name of a file", in_quotes(name_));
            case At::other_section: return fmt::format("the index at {}", in_quotes(name_));
            case At::sections:
            case At::done: break;
        }
        return "the index";
    }
    bool begin_section(At section, bool& seen) {
        if (seen) return refuse(fmt::format("\"{}\" occurs twice", name_));
        seen = true;
        at_ = section;
        return true;
    }
    bool skip(const char* found) {
        if (at_ == At::other_metadata) return at_ = At::metadata_keys, true;
        if (at_ == At::other_section) return at_ = At::sections, true;
        return unexpected(found);
    }

    At at_ = At::begin;
    SafetensorsIndex index_;
    std::string name_;
    bool metadata_seen_ = false, weight_map_seen_ = false;
};

}  // namespace

std::vector<std::string> SafetensorsIndex::files() const {
    std::vector<std::string> files;
    files.reserve(weight_map.size());
    for (const auto& [tensor, file] : weight_map) files.push_back(file);
    std::sort(files.begin(), files.end());
    files.erase(std::unique(files.begin(), files.end()), files.end());
    return files;
}

bool is_plain_file_name(std::string_view name) noexcept {
    if (name.empty() || name.size() > kMaxFileNameBytes || name == "." || name.find("..") != std::string_view::npos || !is_utf8(name)) return false;
    return std::all_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F && c != '/' && c != '\\'; });
}

Result<SafetensorsIndex> parse_safetensors_index(std::string_view text, std::string_view file_name) {
    auto corrupt = [&](std::string_view message) { return Error{Code::corrupt, fmt::format("{}: {}", file_name, message)}; };
    if (text.size() > kMaxSafetensorsIndexBytes) return corrupt(fmt::format("an index of {} bytes is beyond the limit of {}", text.size(), kMaxSafetensorsIndexBytes));
    // The library takes a NUL for the end of the text.
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) return corrupt(fmt::format("a NUL at byte {}", nul));
    try {
        IndexReader reader;
        if (!nlohmann::json::sax_parse(text.data(), text.data() + text.size(), &reader)) return corrupt(reader.complaint().message);
        if (!reader.has_weight_map()) return corrupt("the index has no \"weight_map\"");
        return std::move(reader.index());
    } catch (const std::exception& failure) {
        return Error{Code::resource_exhausted, fmt::format("{}: {}", file_name, failure.what())};
    }
}

Result<std::string> make_safetensors_index(const SafetensorsIndex& index) {
    try {
        nlohmann::json document = {{"metadata", nlohmann::json::object()}, {"weight_map", nlohmann::json::object()}};
        if (index.total_size) document["metadata"]["total_size"] = *index.total_size;
        for (const auto& [tensor, file] : index.weight_map) {
            if (!is_tensor_name(tensor) || !is_utf8(tensor)) return Error{Code::invalid_argument, fmt::format("safetensors index: {} is not the name of a tensor", in_quotes(tensor))};
            if (!is_plain_file_name(file)) {
                return Error{Code::invalid_argument, fmt::format("safetensors index: the file {} of tensor {} is not a plain file name", in_quotes(file), in_quotes(tensor))};
            }
            document["weight_map"][tensor] = file;
        }
        return document.dump(2) + "\n";
    } catch (const std::exception& failure) {
        return Error{Code::resource_exhausted, fmt::format("safetensors index: {}", failure.what())};
    }
}

}  // namespace wsync
