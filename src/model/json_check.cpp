#include "model/json_check.hpp"

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
        return refuse(fmt::format("the key \"{}\" occurs twice", name.substr(0, 64)));
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& failure) override {
        return refuse(fmt::format("{} (byte {})", failure.what(), position));
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

Result<json> parse_json(std::string_view text, std::string_view what, JsonLimits limits) {
    if (text.size() > limits.max_bytes) {
        return Error{Code::corrupt, fmt::format("{} has {} bytes, the limit is {}", what, text.size(), limits.max_bytes)};
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
