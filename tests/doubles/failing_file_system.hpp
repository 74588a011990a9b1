// A file system whose n-th operation fails: with an error, or after doing half of it.
#pragma once

#include "store/file_system.hpp"

namespace wsync::testing {

class FailingFileSystem final : public FileSystem {
public:
    enum class How { no_space, io_error, half };
    FailingFileSystem(FileSystem& real, int fail_at, How how) : real_(real), left_(fail_at), how_(how) {}

    Status create(const std::string& path, std::optional<std::uint64_t> bytes) override {
        if (!now()) return real_.create(path, bytes);
        // Half of an allocation: a file that is there and too short.
        if (how_ == How::half && bytes) [[maybe_unused]] const Status half = real_.create(path, *bytes / 2);
        return error(path);
    }
    Result<std::vector<Digest>> write(const std::string& path, std::span<const FileRange> ranges) override {
        if (!now()) return real_.write(path, ranges);
        if (how_ == How::half && !ranges.empty()) {
            FileRange first = ranges[0];
            first.bytes /= 2;
            [[maybe_unused]] const auto half = ranges.size() > 1 ? real_.write(path, ranges.first(ranges.size() / 2)) : real_.write(path, {&first, 1});
        }
        return error(path);
    }
    Result<std::vector<Digest>> read(const std::string& path, std::span<const FileRange> ranges) override {
        if (!now()) return real_.read(path, ranges);
        if (how_ == How::half) return Error{Code::corrupt, path + " ended early"};
        return error(path);
    }
    Status sync(const std::string& path) override { return now() ? Status(error(path)) : real_.sync(path); }
    Status rename(const std::string& from, const std::string& to) override { return now() ? Status(error(from)) : real_.rename(from, to); }
    Status remove(const std::string& path) override { return now() ? Status(error(path)) : real_.remove(path); }
    Result<DirectoryListing> list(const std::string& path) override {
        if (now()) return error(path);
        return real_.list(path);
    }

    [[nodiscard]] bool failed() const { return left_ < 0; }
    int operations = 0;

private:
    bool now() {
        ++operations;
        return left_ >= 0 && left_-- == 0;
    }
    [[nodiscard]] Error error(const std::string& path) const {
        if (how_ == How::no_space) return Error{Code::resource_exhausted, path + ": No space left on device"};
        return Error{Code::io_error, path + ": Input/output error"};
    }

    FileSystem& real_;
    int left_;
    How how_;
};

}  // namespace wsync::testing
