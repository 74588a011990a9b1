#include "memory/file_region.hpp"

#include "result_matchers.hpp"
#include "unit/memory/footprint.hpp"

#include <fcntl.h>
#include <fstream>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

namespace wsync {
namespace {

class FileRegionTest : public ::testing::Test {
protected:
    void SetUp() override {
        char path[] = "/tmp/wsync-file-region-XXXXXX";
        directory_ = ::mkdtemp(path);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    std::string directory_;
};

TEST_F(FileRegionTest, HasTheFilesBytesAndOwnsItsDescriptor) {
    auto path = directory_ + "/weights";
    std::ofstream(path) << "0123456789";
    auto before = testing::Footprint::settled();
    {
        auto region = open_file_region(path, false).value();
        EXPECT_EQ(region.kind, MemoryKind::file);
        EXPECT_EQ(region.bytes, 10U);
        EXPECT_EQ(region.path, path);
        EXPECT_EQ(region.address, nullptr);
        EXPECT_FALSE(region.writable);
        EXPECT_FALSE(region.host_bytes().has_value());
        char text[3];
        EXPECT_EQ(::pread(region.fd, text, 3, 4), 3);
        EXPECT_EQ(std::string(text, 3), "456");
        EXPECT_LT(::pwrite(region.fd, text, 3, 0), 0);
        EXPECT_NE(::fcntl(region.fd, F_GETFD) & FD_CLOEXEC, 0);
        auto copy = region;
        region = {};
        EXPECT_EQ(::pread(copy.fd, text, 3, 0), 3);
        auto writable = open_file_region(path, true).value();
        EXPECT_TRUE(writable.writable);
        EXPECT_EQ(::pwrite(writable.fd, "x", 1, 0), 1);
    }
    EXPECT_EQ(testing::settled_at(before), before);
}

TEST_F(FileRegionTest, RefusesWhatIsNoFile) {
    EXPECT_THAT(open_file_region(directory_ + "/none", false), testing::HasError(Code::not_found, directory_ + "/none"));
    EXPECT_THAT(open_file_region(directory_, false), testing::HasError(Code::invalid_argument, "not a regular file"));
    auto fifo = directory_ + "/fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    EXPECT_THAT(open_file_region(fifo, false), testing::HasError(Code::invalid_argument, "not a regular file"));
    EXPECT_THAT(open_file_region("/dev/null", false), testing::HasCode(Code::invalid_argument));
}

TEST_F(FileRegionTest, AnEmptyFileIsARegionOfNoBytes) {
    std::ofstream(directory_ + "/empty").close();
    EXPECT_EQ(open_file_region(directory_ + "/empty", true).value().bytes, 0U);
}

TEST(MemoryKinds, HaveNames) {
    EXPECT_EQ(name_of(MemoryKind::host), "host");
    EXPECT_EQ(name_of(MemoryKind::shared), "shared");
    EXPECT_EQ(name_of(MemoryKind::file), "file");
    EXPECT_EQ(name_of(MemoryKind::device), "device");
}

}  // namespace
}  // namespace wsync
