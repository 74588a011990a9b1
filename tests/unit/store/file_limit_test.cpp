// A limit on the size of files, which the kernel enforces by a deadly signal.
#include "child_process.hpp"
#include "store_fixture.hpp"

#include <sys/resource.h>

namespace wsync {
namespace {

using namespace testing;

// In a process that has not asked to be spared the signal, as a trainer's.
int with_limit(rlim_t bytes, const std::function<bool()>& holds) {
    ChildProcess child([&](int) {
        const rlimit limit{bytes, bytes};
        if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
        return holds() ? 0 : 1;
    });
    return child.wait();
}

TEST(FileLimit, IsAnErrorThatNamesIt) {
    const TemporaryDirectory directory;
    const auto files = make_file_system(nullptr);
    const auto path = directory / "weights";
    EXPECT_EQ(with_limit(100'000,
                         [&] {
                             const auto made = files->create(path, 100'001);
                             const auto& message = made ? std::string() : made.error().message;
                             return !made && made.error().code == Code::resource_exhausted && message.find(path) != std::string::npos &&
                                    message.find("more than a file may have here (100000): raise ulimit -f") != std::string::npos;
                         }),
              0);
    EXPECT_EQ(with_limit(100'000, [&] { return files->create(path, 100'000).has_value(); }), 0);
}

}  // namespace
}  // namespace wsync
