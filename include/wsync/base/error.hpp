// What went wrong, as a value.
//
// An Error says three things: a code that tells the caller what he can do, one sentence that names the thing (file,
// tensor, offset, limit) and the remedy, and the chain of what was being done, innermost first. Errors are plain
// values: copyable, comparable by code, safe to move between threads.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace wsync {

enum class Code {
    invalid_argument,    // the caller must change the call
    not_found,           // the named thing does not exist
    unavailable,         // not now; the same call may work later
    unsupported,         // never here: the machine, file system or peer cannot do it
    resource_exhausted,  // memory, disk space, descriptors or a queue is full
    peer_lost,           // the other process died or the connection to it broke
    timed_out,           // the deadline passed; the message names who was waited for
    cancelled,           // the caller asked to stop
    corrupt,             // bytes, a header or a record are not what they must be
    io_error,            // the operating system refused an operation
    internal,            // a bug in wsync
};

// The code's name as it is spelled above, e.g. "timed_out".
[[nodiscard]] std::string_view name_of(Code code) noexcept;

struct Error {
    Code code = Code::internal;
    std::string message;
    std::vector<std::string> context{};  // innermost first: "reading model.safetensors", "staging policy@1.4"

    // "timed_out: message (while ..., while ...)" on one line.
    [[nodiscard]] std::string to_string() const;
    // The same error with one more outer step of context.
    [[nodiscard]] Error within(std::string step) const&;
    [[nodiscard]] Error within(std::string step) &&;
};

// An Error made from errno: picks the code (ENOSPC and ENOMEM: resource_exhausted, ENOENT: not_found, EACCES and
// others: io_error) and appends the system's words. `what` names the operation and its object.
[[nodiscard]] Error errno_error(int errno_value, std::string_view what);

// Thrown by Result::value() on an error and by nothing else in wsync.
class Exception : public std::exception {
public:
    explicit Exception(Error error);
    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }
    [[nodiscard]] const Error& error() const noexcept { return error_; }

private:
    Error error_;
    std::string text_;
};

}  // namespace wsync
