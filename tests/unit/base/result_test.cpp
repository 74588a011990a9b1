#include "result_matchers.hpp"

namespace wsync {
namespace {

using testing::HasError;

Result<int> half(int n) {
    if (n % 2 != 0) return Error{Code::invalid_argument, "odd: give an even number", {}};
    return n / 2;
}

Result<int> quarter(int n) {
    WSYNC_TRY(int h, half(n));
    WSYNC_TRY(int q, half(h));
    return q;
}

TEST(Result, CarriesValueOrError) {
    EXPECT_EQ(*quarter(12), 3);
    EXPECT_THAT(quarter(6), HasError(Code::invalid_argument, "odd"));
}

TEST(Result, Chains) {
    EXPECT_EQ(*half(8).and_then(half).transform([](int n) { return n + 1; }), 3);
    EXPECT_EQ(*half(7).or_else([](Error) -> Result<int> { return 0; }), 0);
}

TEST(Result, ValueThrowsTheWholeMessage) {
    try {
        (void)half(3).within("halving").value();
        FAIL();
    } catch (const Exception& e) {
        EXPECT_STREQ(e.what(), "invalid_argument: odd: give an even number, while halving");
    }
}

TEST(Error, IsOneLine) {
    EXPECT_EQ((Error{Code::corrupt, "a\nb", {}}.to_string()), "corrupt: a b");
}

}  // namespace
}  // namespace wsync
