// "Green" can't mean "nothing ran": the rows that must run are committed, and these are all that there are.
#include "result_matchers.hpp"

#include <fstream>
#include <set>

namespace wsync::testing {
namespace {

std::set<std::string> registered_rows() {
    std::set<std::string> rows;
    const auto& all = *::testing::UnitTest::GetInstance();
    for (int s = 0; s < all.total_test_suite_count(); ++s) {
        const auto& suite = *all.GetTestSuite(s);
        for (int t = 0; t < suite.total_test_count(); ++t) {
            const auto& test = *suite.GetTestInfo(t);
            if (test.value_param() != nullptr) rows.insert(std::string(suite.name()) + "." + test.name());
        }
    }
    return rows;
}

TEST(RequiredRows, AreExactlyThoseThatAreRegistered) {
    std::ifstream in(WSYNC_SOURCE_DIR "/tests/conformance/transport/required_rows.txt");
    ASSERT_TRUE(in.good());
    std::set<std::string> required;
    for (std::string line; std::getline(in, line);) {
        if (!line.empty() && line.front() != '#') required.insert(line);
    }
    const auto registered = registered_rows();
    for (const auto& row : required) EXPECT_EQ(1U, registered.count(row)) << row << " must run and does not exist";
    for (const auto& row : registered) EXPECT_EQ(1U, required.count(row)) << row << " is not in required_rows.txt";
    for (const auto& row : registered) EXPECT_EQ(std::string::npos, row.find("DISABLED_")) << row;
}

}  // namespace
}  // namespace wsync::testing
