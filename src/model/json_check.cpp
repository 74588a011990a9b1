#include "model/json_check.hpp"

#include "model/utf8.hpp"

#include <exception>
#include <fmt/format.h>
#include <set>
#include <string>
#include <vector>

namespace wsync {
namespace {

using nlohmann::json;

class Checker final : public nlohmann::json_sax<json> {
public:
    explicit Checker(std::size_t max_depth) : max_depth_(max_depth) {}
    [[nodiscard]] const std::string& complaint() const { return complaint_; }

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool start_object(std::size_t) override { return open(); }
    bool end_object() override { return close(); }
    bool start_array(std::size_t) override { return open(); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
        if (keys_.back().insert(name).second) return true;
        return refuse(fmt::format("the key {} occurs twice", in_quotes(name, 64)));
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& failure) override {
        return refuse(syntax_complaint(position, failure.what()));
    }

private:
    bool open() {
        keys_.emplace_back();
        return keys_.size() <= max_depth_ || refuse(fmt::format("it is nested deeper than {}", max_depth_));
    }
    bool close() {
        keys_.pop_back();
        return true;
    }
    bool refuse(std::string complaint) {
        complaint_ = std::move(complaint);
        return false;
    }

    std::size_t max_depth_;
    std::vector<std::set<std::string>> keys_;  // of each object that is open
    std::string complaint_;
};

}  // namespace

std::string syntax_complaint(std::size_t position, std::string_view library_words) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while parsing value - invalid literal; ..."
    for (std::string_view before : {"] ", ": ", " - "}) {
        if (const auto at = library_words.find(before); at != std::string_view::npos) library_words.remove_prefix(at + before.size());
    }
    const std::string words = in_quotes(library_words, 160);
    return fmt::format("syntax error at byte {}: {}", position, std::string_view(words).substr(1, words.size() - 2));
}

Result<json> parse_json(std::string_view text, std::string_view what, JsonLimits limits) {
    if (text.size() > limits.max_bytes) {
        return Error{Code::corrupt, fmt::format("{} has {} bytes, the limit is {}", what, text.size(), limits.max_bytes)};
    }
    // The library takes a NUL for the end of the text.
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        return Error{Code::corrupt, fmt::format("{} is not as JSON must be: a NUL at byte {}", what, nul)};
    }
    try {
        Checker checker(limits.max_depth);
        if (!json::sax_parse(text, &checker)) return Error{Code::corrupt, fmt::format("{} is not as JSON must be: {}", what, checker.complaint())};
        return json::parse(text);
    } catch (const std::exception& failure) {
        return Error{Code::corrupt, fmt::format("{} can't be read as JSON: {}", what, failure.what())};
    }
}

}  // namespace wsync
