#include "wsync/predict/model_size.hpp"

#include "wsync/model/catalogue.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace wsync {

namespace {

constexpr double kBytesPerGigabyte = 1e9;
constexpr double kLargestGigabytes = 9e9;  // 9e18 bytes: what a signed 64-bit size holds
constexpr double kLargestSeconds = 1e9;

// A plain decimal number and nothing behind it. from_chars knows "inf" and "nan" and takes no sign of plus, no blank
// and no hexadecimal; what is too large or too small for a double is refused as well.
std::optional<double> number_from(std::string_view text) {
    double value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
    return value;
}

// User text inside a message: printable, short, on one line.
std::string quoted(std::string_view text) {
    std::string shown;
    for (const char c : text.substr(0, 40)) shown += (c >= 0x20 && c < 0x7f) ? c : '?';
    return fmt::format("'{}{}'", shown, text.size() > 40 ? "..." : "");
}

std::string catalogue_ids() {
    std::string ids;
    for (const auto& entry : catalogue()) ids += fmt::format("{}{}", ids.empty() ? "" : ", ", entry.id);
    return ids;
}

Error bad_size(std::string_view what, std::string_view text, std::string_view why) {
    return Error{Code::invalid_argument,
                 fmt::format("{} {} {}: give a size in GB from 1e-9 to 9e9 (--model-size 140, 0.5, 1027.25), parameters and a type "
                             "(--params 70B --dtype fp16; K, M, B or T), or a model (--model {}, or a safetensors file or directory)",
                             what, quoted(text), why, catalogue_ids()),
                 {}};
}

}  // namespace

ModelSize default_model_size() { return {"70B parameters in FP16", 140'000'000'000ULL, 140.0}; }

Result<ModelSize> model_size_from_gigabytes(std::string_view text) {
    const auto gigabytes = number_from(text);
    if (!gigabytes) return bad_size("model size", text, "is not a number of GB");
    if (*gigabytes <= 0) return bad_size("model size", text, "is not above zero");
    const double bytes = std::round(*gigabytes * kBytesPerGigabyte);
    if (bytes < 1) return bad_size("model size", text, "is less than one byte");
    if (*gigabytes > kLargestGigabytes) return bad_size("model size", text, "is more than 9e9 GB");
    return ModelSize{fmt::format("{} GB", *gigabytes), static_cast<std::uint64_t>(bytes), *gigabytes};
}

Result<ModelSize> model_size_from_parameters(std::string_view count, std::string_view dtype) {
    std::string_view digits = count;
    double scale = 1;
    if (!digits.empty()) {
        switch (digits.back()) {
            case 'k': case 'K': scale = 1e3; break;
            case 'm': case 'M': scale = 1e6; break;
            case 'b': case 'B': scale = 1e9; break;
            case 't': case 'T': scale = 1e12; break;
            default: break;
        }
        if (scale != 1) digits.remove_suffix(1);
    }
    const auto value = number_from(digits);
    if (!value) return bad_size("parameter count", count, "is not a number");
    if (*value <= 0) return bad_size("parameter count", count, "is not above zero");
    const double parameters = std::round(*value * scale);
    if (parameters < 1) return bad_size("parameter count", count, "is less than one parameter");
    WSYNC_TRY(const DType type, dtype_from_alias(dtype));
    const double bytes = std::ceil(parameters * bits_of(type) / 8);
    if (bytes > kLargestGigabytes * kBytesPerGigabyte) return bad_size("parameter count", count, "makes more than 9e9 GB");
    return ModelSize{fmt::format("{} parameters in {}", count, name_of(type) == "F16" ? "FP16" : name_of(type)),
                     static_cast<std::uint64_t>(bytes), bytes / kBytesPerGigabyte};
}

Result<ModelSize> model_size_of(std::string name, const Manifest& manifest) {
    if (manifest.bytes() == 0) return Error{Code::invalid_argument, fmt::format("{} holds no bytes: nothing to compare", name), {}};
    return ModelSize{std::move(name), manifest.bytes(), static_cast<double>(manifest.bytes()) / kBytesPerGigabyte};
}

Result<double> seconds_from(std::string_view what, std::string_view text) {
    const auto seconds = number_from(text);
    if (!seconds || *seconds < 0 || *seconds > kLargestSeconds || std::signbit(*seconds)) {
        return Error{Code::invalid_argument, fmt::format("{} {} is not a time: give seconds from 0 to 1e9, such as 30 or 0.5", what, quoted(text)), {}};
    }
    return *seconds;
}

}  // namespace wsync
