// GoogleTest words for Result: EXPECT_OK, ASSERT_OK, HasCode.
#pragma once

#include "wsync/base/result.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wsync::testing {

template <class T>
::testing::AssertionResult is_ok(const Result<T>& result) {
    if (result.has_value()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << result.error().to_string();
}

// EXPECT_THAT(result, HasCode(Code::corrupt)); a second matcher looks at the message.
MATCHER_P(HasCode, code, std::string("is an Error with code ") + std::string(name_of(code))) {
    if (arg.has_value()) {
        *result_listener << "which is a value";
        return false;
    }
    *result_listener << "which is " << arg.error().to_string();
    return arg.error().code == code;
}
MATCHER_P2(HasError, code, text, std::string("is an Error with code ") + std::string(name_of(code)) + " that says \"" + text + "\"") {
    if (arg.has_value()) {
        *result_listener << "which is a value";
        return false;
    }
    *result_listener << "which is " << arg.error().to_string();
    return arg.error().code == code && arg.error().to_string().find(text) != std::string::npos;
}

}  // namespace wsync::testing

#define EXPECT_OK(expression) EXPECT_TRUE(::wsync::testing::is_ok(expression))
#define ASSERT_OK(expression) ASSERT_TRUE(::wsync::testing::is_ok(expression))
