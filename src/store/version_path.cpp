#include "store/version_path.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace wsync {
namespace {

constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-";

}  // namespace

bool is_version_name(std::string_view name) noexcept {
    return !name.empty() && name.size() <= 128 && name.front() != '.' && name.find_first_not_of(kPlain) == std::string_view::npos;
}

std::string directory_name(VersionNumber version) { return fmt::format("v{}.{}", version.epoch, version.number); }

std::optional<VersionNumber> parse_directory_name(std::string_view name) noexcept {
    const auto dot = name.find('.');
    if (name.empty() || name.front() != 'v' || dot == std::string_view::npos) return std::nullopt;
    VersionNumber version;
    const auto parse = [](std::string_view text, std::uint64_t& value) {
        if (text.empty() || (text.size() > 1 && text.front() == '0')) return false;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        return error == std::errc() && end == text.data() + text.size();
    };
    if (!parse(name.substr(1, dot - 1), version.epoch) || !parse(name.substr(dot + 1), version.number)) return std::nullopt;
    return version;
}

}  // namespace wsync
