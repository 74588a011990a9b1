// A value or an Error.
//
// Every public function that can fail returns Result<T>; no exception crosses a public function, but for value(),
// which throws wsync::Exception on an error and is meant for examples and scripts. Not thread-safe beyond what T is.
#pragma once

#include "wsync/base/error.hpp"

#include <type_traits>
#include <utility>
#include <variant>

namespace wsync {

template <class T>
class [[nodiscard]] Result {
public:
    using value_type = T;

    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    // Precondition of * and ->: has_value(). Precondition of error(): !has_value().
    T& operator*() & noexcept { return *std::get_if<0>(&state_); }
    const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
    T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
    T* operator->() noexcept { return std::get_if<0>(&state_); }
    const T* operator->() const noexcept { return std::get_if<0>(&state_); }
    Error& error() & noexcept { return *std::get_if<1>(&state_); }
    const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
    Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }

    // The value; throws wsync::Exception with the whole message if there is none.
    T& value() & {
        require();
        return **this;
    }
    const T& value() const& {
        require();
        return **this;
    }
    T&& value() && {
        require();
        return std::move(**this);
    }
    template <class U>
    [[nodiscard]] T value_or(U&& other) && {
        return has_value() ? std::move(**this) : static_cast<T>(std::forward<U>(other));
    }

    // f(value) -> Result<U>
    template <class F>
    auto and_then(F&& f) && -> std::invoke_result_t<F, T&&> {
        if (!has_value()) return std::move(error());
        return std::forward<F>(f)(std::move(**this));
    }
    // f(value) -> U
    template <class F>
    auto transform(F&& f) && -> Result<std::invoke_result_t<F, T&&>> {
        if (!has_value()) return std::move(error());
        return std::forward<F>(f)(std::move(**this));
    }
    // f(Error) -> Result<T>
    template <class F>
    Result or_else(F&& f) && {
        if (has_value()) return std::move(*this);
        return std::forward<F>(f)(std::move(error()));
    }
    // The same result, its error (if any) with one more step of context.
    Result within(std::string step) && {
        if (has_value()) return std::move(*this);
        return std::move(error()).within(std::move(step));
    }

private:
    void require() const {
        if (!has_value()) throw Exception(error());
    }
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;

    Result() = default;
    Result(Error error) : error_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool has_value() const noexcept { return error_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    Error& error() & noexcept { return *std::get_if<1>(&error_); }
    const Error& error() const& noexcept { return *std::get_if<1>(&error_); }
    Error&& error() && noexcept { return std::move(*std::get_if<1>(&error_)); }
    void value() const {
        if (!has_value()) throw Exception(error());
    }
    template <class F>
    auto and_then(F&& f) && -> std::invoke_result_t<F> {
        if (!has_value()) return std::move(error());
        return std::forward<F>(f)();
    }
    template <class F>
    Result or_else(F&& f) && {
        if (has_value()) return {};
        return std::forward<F>(f)(std::move(error()));
    }
    Result within(std::string step) && {
        if (has_value()) return {};
        return std::move(error()).within(std::move(step));
    }

private:
    std::variant<std::monostate, Error> error_;
};

using Status = Result<void>;

}  // namespace wsync

// The house's two macros. WSYNC_TRY(auto x, expression): x is the value, or the function returns the error.
// WSYNC_TRY_VOID(expression): goes on, or the function returns the error.
#define WSYNC_CONCAT_INNER(a, b) a##b
#define WSYNC_CONCAT(a, b) WSYNC_CONCAT_INNER(a, b)
#define WSYNC_TRY_IMPL(name, declaration, ...)            \
    auto name = (__VA_ARGS__);                            \
    if (!name.has_value()) return std::move(name).error(); \
    declaration = *std::move(name)
#define WSYNC_TRY(declaration, ...) WSYNC_TRY_IMPL(WSYNC_CONCAT(wsync_try_, __COUNTER__), declaration, __VA_ARGS__)
#define WSYNC_TRY_VOID(...)                                                         \
    do {                                                                            \
        auto wsync_try_status = (__VA_ARGS__);                                      \
        if (!wsync_try_status.has_value()) return std::move(wsync_try_status).error(); \
    } while (false)
