#include "wsync/base/error.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <system_error>

namespace wsync {

std::string_view name_of(Code code) noexcept {
    switch (code) {
        case Code::invalid_argument: return "invalid_argument";
        case Code::not_found: return "not_found";
        case Code::unavailable: return "unavailable";
        case Code::unsupported: return "unsupported";
        case Code::resource_exhausted: return "resource_exhausted";
        case Code::peer_lost: return "peer_lost";
        case Code::timed_out: return "timed_out";
        case Code::cancelled: return "cancelled";
        case Code::corrupt: return "corrupt";
        case Code::io_error: return "io_error";
        case Code::internal: return "internal";
    }
    return "internal";
}

std::string Error::to_string() const {
    std::string text = fmt::format("{}: {}", name_of(code), message);
    for (const auto& step : context) text += fmt::format(", while {}", step);
    for (char& c : text)
        if (c == '\n' || c == '\r') c = ' ';  // one error, one line
    return text;
}

Error Error::within(std::string step) const& {
    Error copy = *this;
    copy.context.push_back(std::move(step));
    return copy;
}

Error Error::within(std::string step) && {
    context.push_back(std::move(step));
    return std::move(*this);
}

Error errno_error(int errno_value, std::string_view what) {
    Code code = Code::io_error;
    switch (errno_value) {
        case ENOENT: code = Code::not_found; break;
        case ENOSPC:
        case EDQUOT:
        case ENOMEM:
        case EMFILE:
        case ENFILE:
        case EFBIG: code = Code::resource_exhausted; break;
        case ECONNRESET:
        case EPIPE:
        case ECONNABORTED: code = Code::peer_lost; break;
        case ECONNREFUSED:
        case EHOSTUNREACH:
        case ENETUNREACH: code = Code::unavailable; break;
        case ETIMEDOUT: code = Code::timed_out; break;
        case EOPNOTSUPP:
        case ENOSYS: code = Code::unsupported; break;
        default: break;
    }
    return Error{code, fmt::format("{}: {}", what, std::generic_category().message(errno_value)), {}};
}

Exception::Exception(Error error) : error_(std::move(error)), text_(error_.to_string()) {}

}  // namespace wsync
