// The part that the readers of JSON headers share: every event is refused, with a complaint, unless a reader takes it.
#pragma once

#include "model/json_check.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace wsync {

class StrictSax : public nlohmann::json_sax<nlohmann::json> {
public:
    // What was refused, and where; empty while nothing was.
    [[nodiscard]] const Error& complaint() const { return complaint_; }

    bool null() override { return unexpected("null"); }
    bool boolean(bool) override { return unexpected("a boolean"); }
    bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
    bool number_unsigned(number_unsigned_t) override { return unexpected("a number"); }
    bool number_float(number_float_t, const string_t& text) override {
        return unexpected("the number " + text.substr(0, 32) + " (not a whole number below 2^64)");
    }
    bool string(string_t&) override { return unexpected("a string"); }
    bool binary(binary_t&) override { return unexpected("binary data"); }
    bool start_array(std::size_t) override { return unexpected("a list"); }
    bool end_array() override { return unexpected("the end of a list"); }
    bool start_object(std::size_t) override { return unexpected("an object"); }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& failure) override {
        return refuse(syntax_complaint(position, failure.what()));
    }

protected:
    // Where the reader is: 'the shape of tensor "x"'.
    [[nodiscard]] virtual std::string where() const = 0;

    bool unexpected(std::string found) { return refuse(std::move(found) + " is not allowed in " + where()); }
    bool refuse(std::string message, Code code = Code::corrupt) {
        complaint_ = Error{code, std::move(message)};
        return false;
    }
    bool refuse(Error error) {
        complaint_ = std::move(error);
        return false;
    }

private:
    Error complaint_;
};

}  // namespace wsync
