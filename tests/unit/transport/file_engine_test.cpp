// Which engine a directory gets and why, which options are refused, and how the kernel's answers are read.
#include "result_matchers.hpp"
#include "temporary_directory.hpp"
#include "transport/file/blocking_io.hpp"
#include "transport/file/file_transport.hpp"

#include <cerrno>

namespace wsync {
namespace {

using testing::HasCode;
using testing::HasError;
using testing::TemporaryDirectory;

TEST(FileTransport, SaysWhatItUsesAndWhyNotTheBetterWay) {
    TemporaryDirectory disk, memory("/dev/shm");
    const auto on_disk = describe_file_engine(disk.path()).value();
    EXPECT_FALSE(on_disk.filesystem.empty());
    EXPECT_FALSE(on_disk.device.empty());
    const auto on_tmpfs = describe_file_engine(memory.path()).value();
    EXPECT_EQ(on_tmpfs.name(), "threads, buffered (tmpfs has no device behind it)");
    EXPECT_EQ(on_tmpfs.filesystem, "tmpfs");
    FileOptions threads;
    threads.engine = FileEngine::threads;
    threads.direct = DirectIo::never;
    EXPECT_EQ(describe_file_engine(disk.path(), threads).value().name(), "threads, buffered (O_DIRECT is switched off)");
    FileOptions insists;
    insists.direct = DirectIo::always;
    EXPECT_THAT(describe_file_engine(memory.path(), insists), HasError(Code::unsupported, "tmpfs has no device behind it"));
    EXPECT_THAT(describe_file_engine(disk / "nowhere"), HasCode(Code::not_found));
    EXPECT_TRUE(std::filesystem::is_empty(disk.path())) << "the trial file stayed";
}

TEST(FileTransport, RefusesOptionsThatMakeNoSense) {
    FileOptions options;
    options.queue_depth = 0;
    EXPECT_THAT(make_file_transport(options), HasError(Code::invalid_argument, "queue_depth"));
    options = {};
    options.chunk_bytes = 5000;
    EXPECT_THAT(make_file_transport(options), HasError(Code::invalid_argument, "chunk_bytes"));
}

// What the kernel may answer and a test can't make it say on demand.
TEST(FileOutcomes, AreReadAsTheKernelMeansThem) {
    using file_transport::Outcome;
    using file_transport::outcome_of;
    EXPECT_EQ(outcome_of(4096, 0, 4096, true), Outcome::complete);
    EXPECT_EQ(outcome_of(4096, 0, 4000, true), Outcome::complete) << "the last block is asked for whole";
    EXPECT_EQ(outcome_of(4096, 0, 8192, true), Outcome::retry);
    EXPECT_EQ(outcome_of(4096, 4096, 8192, true), Outcome::complete);
    EXPECT_EQ(outcome_of(0, 4096, 8192, true), Outcome::failed);
    EXPECT_EQ(outcome_of(-EINTR, 0, 1, true), Outcome::retry);
    EXPECT_EQ(outcome_of(-EAGAIN, 0, 1, true), Outcome::retry);
    EXPECT_EQ(outcome_of(-EINVAL, 0, 1, true), Outcome::refused);
    EXPECT_EQ(outcome_of(-EINVAL, 0, 1, false), Outcome::failed);
    EXPECT_EQ(outcome_of(-EIO, 0, 1, true), Outcome::failed);
    file_transport::OpenFile file{"/x/model.safetensors", -1, -1, 100};
    const auto io = file_transport::error_of(-EIO, Op::read, file, 4096);
    EXPECT_EQ(io.code, Code::io_error);
    EXPECT_NE(io.message.find("/x/model.safetensors at offset 4096"), std::string::npos);
    EXPECT_EQ(file_transport::error_of(-ENOSPC, Op::write, file, 0).code, Code::resource_exhausted);
    EXPECT_EQ(file_transport::error_of(0, Op::read, file, 50).code, Code::corrupt);
    EXPECT_EQ(file_transport::error_of(0, Op::write, file, 50).code, Code::io_error);
}

}  // namespace
}  // namespace wsync
